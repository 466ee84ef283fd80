"""The error of engines, and of what they are given."""


class EngineError(RuntimeError):
    """An engine cannot be opened or started; the sentence says what failed and what to do."""
