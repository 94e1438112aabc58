"""The command with a small network, as in tests/correct."""

from tests.correct.conftest import correct, network

__all__ = ["correct", "network"]
