//! Images that others published, in the forms they come in, made into images here.

mod from_disk;
mod from_registry;
mod registry;
mod tokens;
mod trust;
