//! What this program needs of the user's settings.
//!
//! The file is the daemon's to judge: it refuses what it does not know and says where. Here a file that cannot
//! be read is as good as none, because the daemon will say so anyway.

use serde::Deserialize;
use std::path::{Path, PathBuf};

#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
pub(crate) struct Config {
    pub debian_mirror: Option<String>,
    pub default_image: Option<String>,
    pub ssh_key_path: Option<PathBuf>,
}

impl Config {
    pub(crate) fn read(path: &Path) -> Self {
        std::fs::read_to_string(path).ok().and_then(|text| toml::from_str(&text).ok()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_of_others_do_not_disturb() {
        let text =
            "log_level = \"debug\"\ndebian_mirror = \"http://mirror.test/debian\"\n[vm_defaults]\nvcpu = 2\n";
        let config: Config = toml::from_str(text).unwrap();
        assert_eq!(config.debian_mirror.as_deref(), Some("http://mirror.test/debian"));
        assert_eq!(Config::read(Path::new("/nonexistent")), Config::default());
    }
}
