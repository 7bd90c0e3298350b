"""Torch is imported before the first test: its import starts a process, which a unit test may not do."""

import torch  # noqa: F401
