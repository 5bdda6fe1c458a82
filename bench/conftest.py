"""`pytest bench` alone: the harness without the runner."""

pytest_plugins = ["bench.plugin"]
