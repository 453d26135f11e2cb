"""The other end of the wire: a caller who speaks and listens, for `talk`, the benchmark and the tests."""
