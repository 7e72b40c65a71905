"""The injection model in the making: labelled texts, fitting, calibration, figures."""
