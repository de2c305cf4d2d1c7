"""Faults that a user can mend, as one sentence."""

from __future__ import annotations


class AnalysisError(Exception):
    """A fault that a user can mend: what, where, and what to do, in one sentence."""
