//! Graceful restarts without a runtime.
#![no_std]
