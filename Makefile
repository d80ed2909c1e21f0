# Two commands do everything on a fresh machine (Debian with Rust): `make demo` and `make test`.

.PHONY: demo test bench

# A server, simulated devices and real agents over HTTP and MQTT, some of which fail their health check. ARGS=--exit for a
# script.
demo:
	scripts/setup build
	cargo build --locked -p updraft -p updraft-agent
	target/debug/updraft demo $(ARGS)

# Everything that must hold: formatting, lints, tests, simulation, power cuts, a short run of each fuzz target.
test:
	scripts/test

# The table of docs/benchmarks.md.
bench:
	scripts/setup build bench clients
	scripts/bench
