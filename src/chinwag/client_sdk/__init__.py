"""A client of the Realtime API that speaks and listens, for `talk`, the benchmarks and the tests."""
