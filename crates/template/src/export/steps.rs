//! The files and commands of a host, back from JSON.

use model::Value;
use serde_json::Value as Json;

use super::{Exporter, Group, list, placeholder, scalar};
use crate::yaml::Node;

impl Exporter {
    /// `configure` of a host. If one of its contents is a secret, all are taken for one.
    pub(super) fn steps(&mut self, steps: &Value, whose: &str) -> Node {
        let document = steps.expose().and_then(|text| serde_json::from_str::<Json>(text).ok());
        let Some(document) = document else {
            self.to_fill_in.push(whose.to_owned());
            return placeholder();
        };
        let secret = matches!(steps, Value::Secret(_));
        let items = |key: &str| document[key].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut group = Group::default();
        let files = items("files").iter().map(|file| self.file(file, secret)).collect::<Vec<_>>();
        let commands = items("commands").iter().map(command).collect::<Vec<_>>();
        for (key, nodes) in [("files", files), ("commands", commands)] {
            if !nodes.is_empty() {
                group.node(key, list(nodes));
            }
        }
        group.into_node()
    }

    fn file(&mut self, file: &Json, secret: bool) -> Node {
        let mut group = Group::default();
        for key in ["path", "content", "source", "mode", "owner"] {
            match file[key].as_str() {
                Some(content) if secret && key == "content" => {
                    group.node(key, self.variable("CONTENT", Some(content)));
                }
                Some(text) => group.text(key, text),
                None => {}
            }
        }
        group.into_node()
    }
}

fn command(command: &Json) -> Node {
    match command {
        Json::Array(words) => {
            list(words.iter().map(|word| scalar(word.as_str().unwrap_or_default())).collect())
        }
        line => scalar(line.as_str().unwrap_or_default()),
    }
}
