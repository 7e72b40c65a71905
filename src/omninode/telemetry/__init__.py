"""The road from an event to whoever listens: bus, sketches, logs, redaction. Nothing on it waits."""
