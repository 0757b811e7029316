//! Repositories that go into a guest and work that comes out of it.

mod export;
