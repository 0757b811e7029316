//! Any bytes as what a registry or a folder says of an image.

use crate::manifest::{self, Document};
use crate::{Platform, Reference, config};

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[test]
fn any_bytes_are_a_manifest_or_an_index_or_an_error() {
    let of = |kind: &str| {
        format!(r#"{{"mediaType":"application/vnd.oci.image.{kind}","digest":"{DIGEST}","size":5}}"#)
    };
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{},"layers":[{}]}}"#,
        of("config.v1+json"),
        of("layer.v1.tar+gzip")
    );
    let entry = of("manifest.v1+json").replace(
        "\"size\"",
        r#""platform":{"os":"linux","architecture":"amd64"},"annotations":{"org.opencontainers.image.ref.name":"v1"},"size""#,
    );
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{entry},{entry}]}}"#);
    banger_fuzz::feed(&[manifest.as_bytes(), index.as_bytes()], |bytes| {
        for kind in ["", manifest::MANIFESTS[0], manifest::INDEXES[1]] {
            match manifest::read(kind, bytes) {
                Ok(Document::Index(entries)) => drop(manifest::choose(entries, &Platform::of_guests())),
                Ok(Document::Manifest(manifest)) => assert!(!manifest.layers.is_empty()),
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
    });
}

#[test]
fn any_bytes_are_a_config_or_an_error() {
    let example = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{"Env":["A=b","PATH=/bin"],"User":"1:2","WorkingDir":"/x",
        "Entrypoint":["/bin/sh","-c"],"Cmd":["id"]}},"rootfs":{{"type":"layers","diff_ids":["{DIGEST}"]}}}}"#
    );
    banger_fuzz::feed(&[example.as_bytes()], |bytes| drop(config::read(bytes, 1, &Platform::of_guests())));
}

#[test]
fn any_text_is_a_reference_that_reads_back_the_same_or_an_error() {
    let examples = [
        "alpine:3.20",
        "localhost:5000/team/app",
        "[::1]:5000/x@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "oci:some/dir:tag",
        "docker-archive:/x.tar",
    ];
    banger_fuzz::feed(&examples.map(str::as_bytes), |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        if let Ok(reference @ Reference::Registry(_)) = Reference::parse(text, |_| false) {
            let told = reference.to_string();
            let again = Reference::parse(&told, |_| false).unwrap_or_else(|error| panic!("{told}: {error}"));
            assert_eq!(again.to_string(), told);
        }
    });
}
