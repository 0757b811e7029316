//! The daemon's interface as a document that programs read: [OpenRPC 1.3](https://spec.open-rpc.org), which is to
//! JSON-RPC what OpenAPI is to HTTP, with a JSON Schema (2020-12) for everything that travels.
//!
//! It is made of the types themselves, so it cannot say anything else than they do. `docs/api.openrpc.json` is its
//! copy in the repository, for reviews and for those who write a client in another language.
//!
//! What OpenRPC has no word for stands in fields beginning with `x-`: the result an operation ends in, and the
//! events that arrive before an answer.

use crate::daemon_api::{DaemonCall, operation};
use crate::wire::RpcError;
use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

/// A method with the schemas of what it takes and answers.
#[derive(Debug)]
pub struct MethodDescription {
    pub name: &'static str,
    pub summary: &'static str,
    /// An object's, inlined: its properties are the parameters.
    pub params: Schema,
    pub reply: Schema,
    /// What the operation ends in, where the reply is its beginning.
    pub result: Option<Schema>,
}

/// Where shared schemas stand in the document, as a JSON pointer.
const DEFINITIONS: &str = "/components/schemas";

/// The whole document.
#[must_use]
pub fn document() -> Value {
    let mut generator =
        SchemaSettings::draft2020_12().with(|s| s.definitions_path = DEFINITIONS.into()).into_generator();
    let methods: Vec<Value> = DaemonCall::descriptions(&mut generator)
        .into_iter()
        .map(|method| describe(method, &mut generator))
        .collect();
    let error = generator.subschema_for::<RpcError>();
    json!({
        "openrpc": "1.3.2",
        "info": {
            "title": "bangerd",
            "version": crate::VERSION,
            "description": "JSON-RPC 2.0 over a Unix socket, one object per line. See docs/api.md for the message flow.",
            "license": { "name": "MIT" },
        },
        "x-protocol": crate::PROTOCOL_VERSION,
        "x-max-line-bytes": crate::wire::MAX_LINE,
        "x-error-data": error,
        "methods": methods,
        "components": { "schemas": generator.take_definitions(true) },
    })
}

fn describe(method: MethodDescription, generator: &mut SchemaGenerator) -> Value {
    let MethodDescription { name, summary, params, reply, result } = method;
    let mut described = json!({
        "name": name,
        "summary": summary,
        "paramStructure": "by-name",
        "params": parameters(&params),
        "result": { "name": "reply", "schema": reply },
    });
    let fields = described.as_object_mut().expect("it was written as an object");
    if let Some(result) = result {
        fields.insert("x-operation-result".to_owned(), result.to_value());
    }
    if name == "operation.watch" {
        fields.insert("x-event".to_owned(), generator.subschema_for::<operation::Event>().to_value());
    }
    described
}

/// OpenRPC lists parameters one by one; the required come first, as it demands.
fn parameters(params: &Schema) -> Vec<Value> {
    let none = Map::new();
    let properties = params.get("properties").and_then(Value::as_object).unwrap_or(&none);
    let required: Vec<&str> = params
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let mut listed: Vec<(&String, &Value)> = properties.iter().collect();
    listed.sort_by_key(|(name, _)| (!required.contains(&name.as_str()), name.as_str()));
    listed
        .into_iter()
        .map(|(name, schema)| json!({ "name": name, "required": required.contains(&name.as_str()), "schema": schema }))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn method<'a>(document: &'a Value, name: &str) -> &'a Value {
        let methods = document["methods"].as_array().unwrap();
        methods.iter().find(|method| method["name"] == name).unwrap()
    }

    #[test]
    fn the_copy_in_the_repository_is_what_the_types_say() {
        let copy: Value = serde_json::from_str(include_str!("../../../docs/api.openrpc.json")).unwrap();
        let made = document();
        let differs: Vec<&str> =
            ["info", "methods", "components"].into_iter().filter(|&of| copy[of] != made[of]).collect();
        assert!(
            copy == made,
            "docs/api.openrpc.json is not what the types say (in {differs:?}). Make it again:\n\
             cargo run -p banger-protocol --features schema --example openrpc > docs/api.openrpc.json"
        );
    }

    #[test]
    fn every_method_is_in_it_with_what_it_takes_answers_and_ends_in() {
        let document = document();
        let names: Vec<&str> = document["methods"]
            .as_array()
            .unwrap()
            .iter()
            .map(|method| method["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, DaemonCall::METHODS);

        let start = method(&document, "vm.start");
        assert_eq!(start["params"][0]["name"], "vm");
        assert_eq!(start["params"][0]["required"], true);
        assert_eq!(start["result"]["schema"]["$ref"], "#/components/schemas/OperationStarted");
        assert_eq!(start["x-operation-result"]["$ref"], "#/components/schemas/VmView");
        assert_eq!(method(&document, "vm.show").get("x-operation-result"), None);
    }

    #[test]
    fn every_reference_in_it_leads_somewhere() {
        fn references(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(fields) => {
                    found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
                    fields.values().for_each(|value| references(value, found));
                }
                Value::Array(values) => values.iter().for_each(|value| references(value, found)),
                _ => {}
            }
        }
        let document = document();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 20, "{found:?}");
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
        }
    }

    #[test]
    fn what_matches_the_pattern_of_a_name_is_one() {
        use crate::{digest::Digest, ids, names};
        use proptest::test_runner::TestRunner;
        type Parses = fn(&str) -> bool;
        let types: [(&str, Parses); 6] = [
            ("VmId", |text| text.parse::<ids::VmId>().is_ok()),
            ("OperationId", |text| text.parse::<ids::OperationId>().is_ok()),
            ("VmName", |text| text.parse::<names::VmName>().is_ok()),
            ("ImageName", |text| text.parse::<names::ImageName>().is_ok()),
            ("KernelName", |text| text.parse::<names::KernelName>().is_ok()),
            ("Digest", |text| text.parse::<Digest>().is_ok()),
        ];
        let document = document();
        for (name, parses) in types {
            let pattern = document["components"]["schemas"][name]["pattern"].as_str().unwrap();
            let inner = pattern.trim_start_matches('^').trim_end_matches('$');
            let texts = proptest::string::string_regex(inner).unwrap();
            TestRunner::default()
                .run(&texts, |text| {
                    proptest::prop_assert!(parses(&text), "{text} is no {name}");
                    Ok(())
                })
                .unwrap();
        }
    }

    #[test]
    fn no_two_types_share_a_name() {
        // The generator would call the second one by a number, and clients would see `List2`.
        let document = document();
        let definitions = document["components"]["schemas"].as_object().unwrap();
        let numbered: Vec<&String> =
            definitions.keys().filter(|name| name.ends_with(|c: char| c.is_ascii_digit())).collect();
        assert!(numbered.is_empty(), "{numbered:?}");
    }
}
