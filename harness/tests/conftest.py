"""Settings of all tests here."""

from hypothesis import HealthCheck, settings

settings.register_profile(  # the same examples in every run, however loaded the host is
    "harness",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("harness")
