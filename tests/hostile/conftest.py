"""The command with a small network, as in tests/batch."""

from tests.batch.conftest import correct, network

__all__ = ["correct", "network"]
