//! Images and kernels: those that others published, made into images here, and those that users have.

mod bundles;
mod bundles_from_afar;
mod faults;
mod from_disk;
mod from_registry;
mod interrupted;
mod kernels;
mod limits;
mod listener;
mod mirrors;
mod registered;
mod registry;
mod tokens;
mod trust;
mod users_files;
mod window;
