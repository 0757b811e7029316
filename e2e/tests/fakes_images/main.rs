//! Images and kernels: those that others published, made into images here, and those that users have.

mod faults;
mod from_disk;
mod from_registry;
mod kernels;
mod registered;
mod registry;
mod tokens;
mod trust;
mod users_files;
