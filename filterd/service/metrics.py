"""What Prometheus may know: counts and distributions, never a message, a sender or a subject."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

from filterd.api import Verdict

LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
LAG_BUCKETS_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
SCORE_BUCKETS = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0)


class ServiceMetrics:
    """One registry per service, so that two in one process (tests) do not meet."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.verdicts = Counter(
            "filterd_verdicts", "Messages judged", ["label", "kind", "source"], registry=self.registry
        )
        self.latency = Histogram(
            "filterd_check_seconds",
            "From a message's arrival to its verdict",
            ["kind"],
            buckets=LATENCY_BUCKETS_S,
            registry=self.registry,
        )
        self.batch_size = Histogram(
            "filterd_batch_messages", "Messages in one turn", buckets=BATCH_BUCKETS, registry=self.registry
        )
        self.score = Histogram(
            "filterd_score", "P(spam)", ["kind"], buckets=SCORE_BUCKETS, registry=self.registry
        )
        self.refused = Counter(
            "filterd_refused", "Messages not judged", ["reason", "source"], registry=self.registry
        )
        self.corrections = Counter(
            "filterd_corrections", "Corrections taken", ["label", "source"], registry=self.registry
        )
        self.cache_hits = Counter("filterd_cache_hits", "Verdicts from the cache", registry=self.registry)
        self.waiting = Gauge(
            "filterd_queue_messages", "Messages waiting for the model", registry=self.registry
        )
        self.waiting_tokens = Gauge(
            "filterd_queue_tokens", "Tokens waiting for the model", registry=self.registry
        )
        self.abandoned = Gauge(
            "filterd_abandoned", "Messages whose caller left before their turn", registry=self.registry
        )
        self.drift = Gauge(
            "filterd_drift_psi",
            "Population stability index against the bundle's reference; above 0.25 is a shift",
            ["kind", "of"],
            registry=self.registry,
        )
        self.shadow_seen = Counter(
            "filterd_shadow_messages", "Messages that the shadow model judged too", registry=self.registry
        )
        self.shadow_differs = Counter(
            "filterd_shadow_differs", "Messages that it labels otherwise", ["label"], registry=self.registry
        )
        self.shadow_gap = Histogram(
            "filterd_shadow_gap",
            "Difference of P(spam), shadow less current, absolute",
            buckets=(0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0),
            registry=self.registry,
        )
        self.loop_lag = Histogram(
            "filterd_loop_lag_seconds",
            "How much too late the event loop was, looked at every 0.05 s",
            buckets=LAG_BUCKETS_S,
            registry=self.registry,
        )
        self.workers = Gauge("filterd_workers", "Processes that judge", registry=self.registry)
        self.workers.set(1)
        self.bundle = Info("filterd_bundle", "The bundle that judges", registry=self.registry)

    def judged(self, verdict: Verdict, source: str) -> None:
        """Count a verdict that was given."""
        self.verdicts.labels(verdict.label, verdict.kind, source or "other").inc()
        self.latency.labels(verdict.kind).observe(verdict.seconds)
        self.score.labels(verdict.kind).observe(verdict.probability)
