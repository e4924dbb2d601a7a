"""The engine without a kernel, in front of which the API is tested, keeps what the API relies on."""

from __future__ import annotations

import pytest

from hawse.supervisor.parts import Parts
from tests.unit.api.engine_contract import EngineContract
from tests.unit.api.fake_engine import FakeEngine


class TestTheEngineWithoutAKernel(EngineContract):
    @pytest.fixture
    def engine(self, parts: Parts) -> FakeEngine:
        return FakeEngine(parts)

    @pytest.fixture
    def rootfs(self) -> str:
        return "/"
