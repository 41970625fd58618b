//! The OpenAI-compatible front door: every request routed by score minus price.
