//! Measures engines: an open-loop load generator, and the profiler that turns a server into latency profiles.
