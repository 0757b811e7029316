//! An image's config: what its programs are to find, and what its layers unpack to.

use crate::Platform;
use crate::metadata::{self, MetadataError};
use banger_protocol::digest::Digest;
use banger_protocol::image_config::{BadConfig, ImageConfig};
use serde::Deserialize;

/// The config of an image cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    #[error(transparent)]
    Bad(#[from] BadConfig),
    #[error("the image has {layers} layers, but its config lists {told}")]
    LayerCount { layers: usize, told: usize },
    #[error("the image is for {found}, not for {wanted}")]
    OtherPlatform { found: Platform, wanted: Platform },
}

/// <https://github.com/opencontainers/image-spec/blob/v1.1.0/config.md>
#[derive(Deserialize)]
struct Document {
    architecture: Option<String>,
    os: Option<String>,
    variant: Option<String>,
    #[serde(default)]
    config: Option<Run>,
    rootfs: RootFs,
}

/// Docker writes `null` for what is empty.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Run {
    user: Option<String>,
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    working_dir: Option<String>,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<Digest>,
}

/// What is taken from a config.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) platform: Platform,
    pub(crate) config: ImageConfig,
    /// As many as there are layers.
    pub(crate) diff_ids: Vec<Digest>,
}

/// Reads the config of an image with this many layers, which is to run on `wanted`.
pub(crate) fn read(bytes: &[u8], layers: usize, wanted: &Platform) -> Result<Taken, ConfigError> {
    let Document { architecture, os, variant, config, rootfs } =
        metadata::parse("the image's config", bytes)?;
    let told = rootfs.diff_ids.len();
    if told != layers {
        return Err(ConfigError::LayerCount { layers, told });
    }
    let said = |text: Option<String>, otherwise: &str| {
        text.filter(|text| !text.is_empty()).unwrap_or_else(|| otherwise.to_owned())
    };
    let platform = Platform {
        // Old builders left these out.
        os: said(os, &wanted.os),
        architecture: said(architecture, &wanted.architecture),
        variant,
    };
    // Its variant is the index's to judge: configs often lack it.
    if (&platform.os, &platform.architecture) != (&wanted.os, &wanted.architecture) {
        return Err(ConfigError::OtherPlatform { found: platform, wanted: wanted.clone() });
    }
    let run = config.unwrap_or_default();
    let variables = run.env.unwrap_or_default();
    let some = |text: Option<String>| text.filter(|text| !text.is_empty());
    let config = ImageConfig {
        env: variables.iter().map(|variable| split(variable)).collect(),
        working_dir: some(run.working_dir),
        user: some(run.user),
        entrypoint: run.entrypoint.unwrap_or_default(),
        cmd: run.cmd.unwrap_or_default(),
    };
    config.check()?;
    Ok(Taken { platform, config, diff_ids: rootfs.diff_ids })
}

fn split(variable: &str) -> (String, String) {
    let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
    (name.to_owned(), value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn wanted() -> Platform {
        "linux/amd64".parse().unwrap()
    }

    fn document(config: Value) -> Vec<u8> {
        let document = json!({
            "architecture": "amd64", "os": "linux", "config": config, "history": [], "rootfs":
            {"type": "layers", "diff_ids": [format!("sha256:{}", "a".repeat(64))]}
        });
        serde_json::to_vec(&document).unwrap()
    }

    #[test]
    fn what_programs_are_to_find_is_taken_and_the_rest_is_left() {
        let config = json!({
            "User": "app:staff", "Env": ["PATH=/bin", "A=b=c", "EMPTY="], "WorkingDir": "/srv", "Entrypoint": ["/run"],
            "Cmd": ["a", "b c"], "ExposedPorts": {"80/tcp": {}}, "Labels": null
        });
        let taken = read(&document(config), 1, &wanted()).unwrap().config;
        assert_eq!(taken.user.as_deref(), Some("app:staff"));
        assert_eq!((taken.env["A"].as_str(), taken.env["EMPTY"].as_str()), ("b=c", ""));
        assert_eq!(taken.working_dir.as_deref(), Some("/srv"));
        assert_eq!(taken.command(), ["/run", "a", "b c"]);
    }

    #[test]
    fn an_image_that_says_nothing_says_nothing() {
        for config in
            [json!(null), json!({}), json!({"User": "", "Env": null, "Cmd": null, "WorkingDir": ""})]
        {
            assert!(read(&document(config), 1, &wanted()).unwrap().config.is_empty());
        }
    }

    #[test]
    fn a_config_that_does_not_fit_is_refused_with_the_reason() {
        let refused = |bytes: &[u8], layers| read(bytes, layers, &wanted()).unwrap_err().to_string();
        assert_eq!(refused(&document(json!({})), 2), "the image has 2 layers, but its config lists 1");
        let relative = document(json!({"WorkingDir": "srv"}));
        assert!(refused(&relative, 1).contains("not absolute"));
        assert!(refused(&document(json!({"Env": ["=x"]})), 1).contains("without a name"));
        assert!(refused(b"{}", 0).contains("not understood"));
        let arm = String::from_utf8(document(json!({}))).unwrap().replace("amd64", "arm64");
        assert_eq!(refused(arm.as_bytes(), 1), "the image is for linux/arm64, not for linux/amd64");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>, layers in 0_usize..3) {
            let _ = read(&bytes, layers, &wanted());
        }
    }
}
