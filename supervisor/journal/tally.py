"""What has happened since the daemon started, counted from the journal as it grows: the source of counters and histograms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final, assert_never

from hawse.supervisor.core import events as facts
from hawse.supervisor.core.events import Event

BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)  # seconds
Sample = tuple[str, Mapping[str, str], float]  # suffix, labels, value


class Tally:
    """What has happened since the daemon started; `told` is given every committed event."""

    def __init__(self) -> None:
        self.events: Counter[str] = Counter()
        self.stages: dict[str, list[int]] = {}  # stage → count of each bucket, and of what exceeds all
        self.stage_sums: Counter[str] = Counter()  # microseconds
        self.hook_failures: Counter[str] = Counter()

    def told(self, event: Event) -> None:
        self.events[event.type] += 1
        match event.fact:
            case facts.ContainerStarted(container=container):
                for stage, took_us in container.stages.items():
                    counts = self.stages.setdefault(stage, [0] * (len(BUCKETS) + 1))
                    counts[next((i for i, le in enumerate(BUCKETS) if took_us <= le * 1e6), len(BUCKETS))] += 1
                    self.stage_sums[stage] += took_us
            case facts.HookFailed(handler=handler) | facts.HookDead(handler=handler):
                self.hook_failures[handler] += 1
            case (
                facts.ContainerCreated()
                | facts.ContainerExited()
                | facts.ContainerOom()
                | facts.ContainerPaused()
                | facts.ContainerResumed()
                | facts.ContainerRestarting()
                | facts.ContainerKilled()
                | facts.ContainerHealthChanged()
                | facts.ContainerRenamed()
                | facts.ContainerUpdated()
                | facts.ContainerStartFailed()
                | facts.ContainerCommitted()
                | facts.ContainerQuarantined()
                | facts.ExecStarted()
                | facts.ExecEnded()
                | facts.ContainerRemoved()
                | facts.NetworkFact()
                | facts.NetworkConnected()
                | facts.NetworkLeft()
                | facts.NetworkPublished()
                | facts.NetworkPortTaken()
                | facts.NetworkDisconnected()
                | facts.NetworkRepaired()
                | facts.ImageFact()
                | facts.VolumeFact()
                | facts.HookSucceeded()
                | facts.DaemonStarted()
                | facts.DaemonRecovered()
            ):
                pass  # counted by its type alone
            case fact:
                assert_never(fact)

    def stage_samples(self) -> Iterator[Sample]:
        for stage, counts in sorted(self.stages.items()):
            total = 0
            for bound, count in zip((*map(str, BUCKETS), "+Inf"), counts, strict=True):
                total += count
                yield "_bucket", {"stage": stage, "le": bound}, total
            yield "_sum", {"stage": stage}, self.stage_sums[stage] / 1e6
            yield "_count", {"stage": stage}, total
