"""The road from an event to whoever listens: bus, spans, metrics, logs, redaction. Nothing on it waits."""
