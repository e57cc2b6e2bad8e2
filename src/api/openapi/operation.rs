//! One operation as its description is written: what only it has. The rest follows from rules ([`super::rules`]).

use serde_json::{Value, json};

use super::bodies::integer;
use super::schemas::reference;
use crate::api::error::LOCKED;
use crate::api::query::{DEFAULT_LIMIT, MAX_LIMIT};

/// Who may call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody, without a token.
    Public,
    /// Scope `webhooks:read`.
    Read,
    /// Scope `webhooks:write`, and no read-only role.
    Write,
    /// Scope `events:publish`, or a publisher role.
    Publish,
    /// Those who may read or publish.
    ReadOrPublish,
}

/// How the operations are grouped, each group with what it is about.
pub const TAGS: [(&str, &str); 6] = [
    ("Webhooks", "What a user subscribes to, and how patiently it is sent."),
    ("Secrets and tests", "Keys that sign, attempts and filters to try."),
    ("Deliveries", "The log of attempts, and sending again."),
    ("Statistics", "Counts, success rates and response times."),
    ("Events", "Publishing, and what became of it."),
    ("Documentation", "This document."),
];

/// A request body.
#[derive(Clone, Debug)]
pub struct Body {
    /// Its schema's name.
    pub schema: &'static str,
    /// Whether there may be none.
    pub optional: Optional,
    /// Requests worth showing, each with a title.
    pub examples: Vec<(&'static str, Value)>,
}

/// Whether a body may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Optional {
    /// It may.
    Yes,
    /// It may not.
    No,
}

/// A good answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// What it means.
    pub description: &'static str,
    /// The schema of its body and an example of it; `None` = no body.
    pub body: Option<(Value, Value)>,
    /// Its headers besides those that each answer has.
    pub headers: Vec<&'static str>,
    /// Operations that take what it tells.
    pub links: Vec<Link>,
}

/// An operation to go on with.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// Its `operationId`.
    pub operation: &'static str,
    /// Parameters of its path, each with the runtime expression of its value.
    pub parameters: &'static [(&'static str, &'static str)],
}

/// One operation.
#[derive(Clone, Debug)]
pub struct Operation {
    /// In small letters.
    pub method: &'static str,
    /// Below `/api`, as in the table of routes.
    pub path: &'static str,
    /// `operationId`
    pub id: &'static str,
    /// The group, one of [`TAGS`].
    pub tag: &'static str,
    /// A line.
    pub summary: &'static str,
    /// A paragraph, in Markdown.
    pub description: &'static str,
    /// Who may call it.
    pub access: Access,
    /// Parameters besides those of the path.
    pub parameters: Vec<Value>,
    /// The request body.
    pub body: Option<Body>,
    /// Good answers.
    pub answers: Vec<Answer>,
    /// What a 409 may say.
    pub conflicts: Vec<&'static str>,
}

impl Operation {
    /// `method` (in small letters) of `path`.
    pub fn new(method: &'static str, path: &'static str, id: &'static str) -> Self {
        Self {
            method,
            path,
            id,
            tag: "",
            summary: "",
            description: "",
            access: Access::Public,
            parameters: Vec::new(),
            body: None,
            answers: Vec::new(),
            conflicts: Vec::new(),
        }
    }

    /// What it does, in its group.
    pub fn about(mut self, tag: &'static str, summary: &'static str, description: &'static str) -> Self {
        (self.tag, self.summary, self.description) = (tag, summary, description);
        self
    }

    /// Who may call it.
    pub fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// It looks at this in the query or among the headers.
    pub fn with(mut self, parameters: impl IntoIterator<Item = Value>) -> Self {
        self.parameters.extend(parameters);
        self
    }

    /// It needs a body.
    pub fn body(
        mut self,
        schema: &'static str,
        examples: impl IntoIterator<Item = (&'static str, Value)>,
    ) -> Self {
        self.body = Some(Body { schema, optional: Optional::No, examples: examples.into_iter().collect() });
        self
    }

    /// It takes a body.
    pub fn optional_body(
        mut self,
        schema: &'static str,
        examples: impl IntoIterator<Item = (&'static str, Value)>,
    ) -> Self {
        self.body = Some(Body { schema, optional: Optional::Yes, examples: examples.into_iter().collect() });
        self
    }

    /// A good answer with a body of the schema that is called `schema`.
    pub fn answers(self, status: u16, description: &'static str, schema: &str, example: Value) -> Self {
        self.answers_with(status, description, reference(schema), example)
    }

    /// A good answer with an array of them.
    pub fn answers_list(self, status: u16, description: &'static str, of: &str, example: Value) -> Self {
        self.answers_with(status, description, json!({"type": "array", "items": reference(of)}), example)
    }

    fn answers_with(mut self, status: u16, description: &'static str, schema: Value, example: Value) -> Self {
        self.answers.push(Answer {
            status,
            description,
            body: Some((schema, example)),
            headers: Vec::new(),
            links: Vec::new(),
        });
        self
    }

    /// A good answer without a body.
    pub fn answers_nothing(mut self, status: u16, description: &'static str) -> Self {
        self.answers.push(Answer { status, description, body: None, headers: Vec::new(), links: Vec::new() });
        self
    }

    /// Its last answer has these headers too.
    pub fn headers(mut self, names: impl IntoIterator<Item = &'static str>) -> Self {
        if let Some(last) = self.answers.last_mut() {
            last.headers.extend(names);
        }
        self
    }

    /// After its last answer these operations make sense, with what it tells.
    pub fn links(
        mut self,
        operations: impl IntoIterator<Item = &'static str>,
        parameters: &'static [(&'static str, &'static str)],
    ) -> Self {
        if let Some(last) = self.answers.last_mut() {
            last.links.extend(operations.into_iter().map(|operation| Link { operation, parameters }));
        }
        self
    }

    /// It may be refused with 409 for these reasons.
    pub fn conflicts(mut self, reasons: impl IntoIterator<Item = &'static str>) -> Self {
        self.conflicts.extend(reasons);
        self
    }

    /// It takes `If-Match`.
    pub fn guarded(mut self) -> Self {
        self.parameters.push(json!({"$ref": "#/components/parameters/IfMatch"}));
        self
    }

    /// It writes the webhook: others may win the race to it.
    pub fn writes(self) -> Self {
        self.guarded().conflicts(["the webhook is being changed by others, try again"])
    }

    /// It needs what is secret of the webhook: what cannot be read can be neither used nor written again.
    pub fn needs_secrets(self) -> Self {
        self.conflicts([LOCKED])
    }

    /// Whether it looks at the query or at a header whose value may be wrong.
    pub fn has_checked_parameters(&self) -> bool {
        self.parameters.iter().any(|parameter| parameter.get("schema").is_some())
    }

    /// Whether it takes `If-Match`.
    pub fn is_guarded(&self) -> bool {
        self.parameters.iter().any(|parameter| parameter.get("$ref").is_some())
    }

    /// The names between braces in its path.
    pub fn path_parameters(&self) -> impl Iterator<Item = &'static str> {
        self.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
    }
}

/// A parameter of the query that may be missing. Without an example: Swagger UI would put it into every request.
pub fn query(name: &str, schema: &Value, description: &str) -> Value {
    json!({"name": name, "in": "query", "required": false, "schema": schema, "description": description})
}

/// `true` or `false` in the query.
pub fn flag(name: &str, description: &str) -> Value {
    query(name, &json!({"type": "boolean"}), description)
}

/// `page` and `limit`.
pub fn pages() -> [Value; 2] {
    let page = integer(0..=u32::MAX, "Counts from 1; 0 = 1.");
    let mut limit = integer(0..=MAX_LIMIT, "Rows on a page; 0 = the default.");
    limit["default"] = DEFAULT_LIMIT.into();
    [query("page", &page, "The page, from 1."), query("limit", &limit, "Rows on a page.")]
}
