//! From the template's texts to what is sent: references resolved, marks added.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use driver::deployment::DeploymentFile;
use journal::{Layout, ProvisionRecord};
use model::{Attributes, HostKey, ProvisionId, Secret, Value};
use template::reference::{
    EvaluateError, Late, Lookup, ObjectKind, evaluate, evaluate_attributes, evaluate_json,
    evaluate_json_texts, evaluate_yaml, late_in,
};
use template::spec::{HostSpec, ObjectSpec, Spec, VirtualSpec};

use crate::objects::infrastructure;
use crate::virtuals::tell_virtuals;
use crate::{EngineError, names};

/// The objects that exist so far, for references.
#[derive(Debug)]
pub(crate) struct Known {
    name: String,
    id: String,
    objects: BTreeMap<(ObjectKind, usize), Attributes>,
    /// What is known only when the hosts are there, as far as it is.
    late: BTreeMap<Late, String>,
}

impl Known {
    pub fn new(name: &str, id: ProvisionId) -> Self {
        Self {
            name: name.to_owned(),
            id: id.to_string(),
            objects: BTreeMap::new(),
            late: BTreeMap::new(),
        }
    }

    /// What is there of a template, by a provision's record. Of what was made from it nothing is asked.
    pub fn of(spec: &Spec, record: &ProvisionRecord, layout: &Layout) -> Self {
        let mut known = Self::new(&spec.name, record.id);
        for (subject, kind, index, object) in infrastructure(spec, layout) {
            if let (Some(id), Ok((name, made))) = (record.id_of(subject), known.object(object)) {
                known.add(kind, index, id, &name, made);
            }
        }
        for (index, host) in spec.hosts.iter().enumerate() {
            let key = layout.host(index);
            let there = record.hosts.get(&key).filter(|host| !host.removed);
            if let Some((there, id)) = there.and_then(|there| Some((there, there.host_id?))) {
                let name = there.name.clone();
                let name = name.unwrap_or_else(|| names::host_name(record.id, key));
                let file = known.host(host, key, &name, &spec.playbooks, None);
                let template = file.map(|file| file.template).unwrap_or_default();
                known.add(ObjectKind::Host, index, id, &name, template);
            }
        }
        tell_virtuals(spec, record, layout, &mut known);
        known
    }

    /// Name of the provision.
    pub fn provision(&self) -> &str {
        &self.name
    }

    /// Takes note of what is known only when the hosts are there, or that it is not.
    pub fn set_late(&mut self, late: Late, value: Option<String>) {
        match value {
            Some(value) => drop(self.late.insert(late, value)),
            None => drop(self.late.remove(&late)),
        }
    }

    /// Whether that is known by now.
    pub fn has_late(&self, late: Late) -> bool {
        self.late.contains_key(&late)
    }

    /// Whether a value is not known yet, but when the hosts are there.
    pub fn awaits(&self, value: &Value) -> bool {
        late_of(value).iter().any(|late| !self.late.contains_key(late))
    }

    /// Attributes with their references resolved, without those whose value is not known yet.
    pub fn attributes(&self, attributes: &Attributes) -> Result<Attributes, EvaluateError> {
        if !attributes.iter().any(|(_, value)| self.awaits(value)) {
            return evaluate_attributes(attributes, self);
        }
        let known = attributes.iter().filter(|(_, value)| !self.awaits(value));
        let known = known.map(|(key, value)| (key.to_owned(), value.clone())).collect();
        evaluate_attributes(&known, self)
    }

    /// Takes note of an object that was made.
    pub fn add(
        &mut self,
        kind: ObjectKind,
        index: usize,
        id: i32,
        name: &str,
        template: Attributes,
    ) {
        let mut object = Attributes::new();
        object.push("ID", id.to_string());
        object.push("NAME", name);
        object.push("TEMPLATE", template);
        self.objects.insert((kind, index), object);
    }

    /// A template's object as it is to be made: its name, and its attributes with our mark.
    pub fn object(&self, spec: &ObjectSpec) -> Result<(String, Attributes), EngineError> {
        let error = |e: template::reference::EvaluateError| {
            EngineError::Template(format!("{}: {e}", spec.origin))
        };
        let name = evaluate(&spec.name, self).map_err(error)?;
        let mut all = self.attributes(&spec.attributes).map_err(error)?;
        if let Some(driver) = &spec.driver {
            all.set("PM_MAD", driver.as_str());
        }
        let provision = evaluate_attributes(&spec.provision, self).map_err(error)?;
        all.set("PROVISION", self.marked(provision));
        Ok((name, all))
    }

    /// A virtual object as it is to be made: its name, its attributes with our mark, and the body of a
    /// service template.
    pub fn virtual_object(
        &self,
        spec: &VirtualSpec,
    ) -> Result<(String, Attributes, Option<Value>), EngineError> {
        let error = |e: template::reference::EvaluateError| {
            EngineError::Template(format!("{}: {e}", spec.origin))
        };
        let name = evaluate(&spec.name, self).map_err(error)?;
        let mut all = self.attributes(&spec.attributes).map_err(error)?;
        let provision = match all.get("PROVISION") {
            Some(Value::Vector(provision)) => provision.clone(),
            _ => Attributes::new(),
        };
        all.set("PROVISION", self.marked(provision));
        let body = match &spec.body {
            Some(Value::Text(body)) => Some(Value::Text(evaluate_json(body, self).map_err(error)?)),
            Some(Value::Secret(body)) => {
                let body = evaluate_json(body.expose(), self).map_err(error)?;
                Some(Value::Secret(Secret::new(body)))
            }
            other => other.clone(),
        };
        Ok((name, all, body))
    }

    /// Id of an object that was made.
    pub fn id_of(&self, kind: ObjectKind, index: usize) -> Option<i32> {
        self.objects.get(&(kind, index))?.text("ID")?.parse().ok()
    }

    /// A host as its driver and OpenNebula are told of it, under its first name and without an id.
    pub fn host(
        &self,
        spec: &HostSpec,
        key: HostKey,
        host_name: &str,
        playbooks: &[String],
        public_key: Option<&str>,
    ) -> Result<DeploymentFile, EngineError> {
        let error = |e: template::reference::EvaluateError| {
            EngineError::Template(format!("{}: {e}", spec.origin))
        };
        let mut template = evaluate_attributes(&spec.attributes, self).map_err(error)?;
        template.set("PM_MAD", spec.driver.as_str());
        let provision = evaluate_attributes(&spec.provision, self).map_err(error)?;
        let mut provision = self.marked(provision);
        provision.set("HOST_KEY", key.to_string());
        template.set("PROVISION", provision);
        let encode = |yaml: &str| -> Result<String, EngineError> {
            Ok(STANDARD.encode(evaluate_yaml(yaml, self).map_err(error)?))
        };
        let configuration = match &spec.configuration {
            Value::Text(yaml) => Value::Text(encode(yaml)?),
            Value::Secret(yaml) => Value::Secret(Secret::new(encode(yaml.expose())?)),
            Value::Withheld | Value::Vector(_) => Value::Withheld,
        };
        template.set("PROVISION_CONFIGURATION_BASE64", configuration);
        let encode = |json: &str| -> Result<String, EngineError> {
            Ok(STANDARD.encode(evaluate_json_texts(json, self).map_err(error)?))
        };
        let steps = match &spec.steps {
            None => None,
            Some(Value::Text(json)) => Some(Value::Text(encode(json)?)),
            Some(Value::Secret(json)) => Some(Value::Secret(Secret::new(encode(json.expose())?))),
            Some(Value::Withheld | Value::Vector(_)) => Some(Value::Withheld),
        };
        if let Some(steps) = steps {
            template.set("PROVISION_STEPS_BASE64", steps);
        }
        template.set("PROVISION_CONFIGURATION_STATUS", "pending");
        let connection = evaluate_attributes(&spec.connection.resolved(), self).map_err(error)?;
        template.set("PROVISION_CONNECTION", connection);
        if let Some(public_key) = public_key {
            template.vector_mut("CONTEXT").set("SSH_PUBLIC_KEY", public_key.trim_end());
        }
        if !playbooks.is_empty() {
            template.set("ANSIBLE_PLAYBOOK", playbooks.join(","));
        }
        Ok(DeploymentFile {
            id: None,
            name: host_name.to_owned(),
            im_mad: evaluate(&spec.im_mad, self).map_err(error)?,
            vm_mad: evaluate(&spec.vm_mad, self).map_err(error)?,
            pm_mad: spec.driver.clone(),
            cluster: None,
            template,
        })
    }

    /// What is left of a host's template when its object and those that it refers to are gone: with
    /// which account its driver works, and on what. References that nothing answers stay as they are.
    pub fn account(&self, spec: &HostSpec, key: HostKey) -> Attributes {
        let provision = evaluate_attributes(&spec.provision, self);
        let mut provision = self.marked(provision.unwrap_or_else(|_| spec.provision.clone()));
        provision.set("HOST_KEY", key.to_string());
        let mut template = Attributes::new();
        template.set("PM_MAD", spec.driver.as_str());
        template.set("PROVISION", provision);
        template
    }

    /// `PROVISION` with the mark of 5.12, by which every tool finds what belongs together.
    pub fn marked(&self, mut provision: Attributes) -> Attributes {
        provision.set("PROVISION_ID", self.id.as_str());
        provision.set("NAME", self.name.as_str());
        provision
    }
}

impl Lookup for Known {
    fn name(&self) -> &str {
        &self.name
    }

    fn id(&self) -> &str {
        &self.id
    }

    fn attribute(&self, kind: ObjectKind, index: usize, path: &str) -> Option<String> {
        let object = self.objects.get(&(kind, index))?;
        object.get(path).and_then(Value::expose).map(str::to_owned)
    }

    fn late(&self, late: Late) -> Option<String> {
        self.late.get(&late).cloned()
    }
}

/// What a value refers to that is known only when the hosts are there.
pub(crate) fn late_of(value: &Value) -> Vec<Late> {
    value.expose().map(late_in).unwrap_or_default()
}

/// The provision that an object of OpenNebula belongs to, by its mark.
pub(crate) fn provision_of(template: &Attributes) -> Option<ProvisionId> {
    template.text("PROVISION/PROVISION_ID")?.trim().parse().ok()
}
