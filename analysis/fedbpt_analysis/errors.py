"""What a user can cause, as one sentence."""

from __future__ import annotations


class AnalysisError(Exception):
    """What is wrong, where, and what to do, in one sentence."""
