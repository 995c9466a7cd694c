"""The demo: real usage of three clouds through the whole pipeline, compared with what the providers printed."""
