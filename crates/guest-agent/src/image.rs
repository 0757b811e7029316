//! What the image says about its programs: from the config drive, which the first program reads, to the agent.
//!
//! It lies in `/run`, so that it is this boot's and no file of the image.

use banger_protocol::image_config::ImageConfig;
use std::io;
use std::path::Path;

const FILE: &str = "/run/banger/image.json";

/// Leaves it for the agent in the root that will be.
pub(crate) fn leave(config: &ImageConfig, new_root: &Path) -> io::Result<()> {
    if config.is_empty() {
        return Ok(());
    }
    std::fs::write(new_root.join(&FILE[1..]), serde_json::to_vec(config)?)
}

/// What was left; nothing, if the image says nothing.
pub(crate) fn config() -> ImageConfig {
    let text = std::fs::read(FILE).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_says_nothing_leaves_no_file() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("run/banger")).unwrap();
        leave(&ImageConfig::default(), root.path()).unwrap();
        assert!(!root.path().join(&FILE[1..]).exists());
        let config = ImageConfig { user: Some("app".into()), ..ImageConfig::default() };
        leave(&config, root.path()).unwrap();
        let left = std::fs::read(root.path().join(&FILE[1..])).unwrap();
        assert_eq!(serde_json::from_slice::<ImageConfig>(&left).unwrap(), config);
    }
}
