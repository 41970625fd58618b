//! The engine of the simulator behind a socket: an OpenAI-compatible server that keeps the time of the engine model.
