"""The process of one scheduled run, which `home_worker` starts: Prefect's engine, with our settings alone."""

import runpy

from flows.server.alone import isolate


def main() -> None:
    """Run the flow run that the environment names."""
    isolate()
    runpy.run_module("prefect.engine", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
