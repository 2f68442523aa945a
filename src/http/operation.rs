//! One operation of the server: how it is routed, and how `/openapi.json` describes it. Both are made from this, so that
//! neither can have what the other has not.

use super::problem::Problem;
use crate::domain::access::Scope;
use actix_web::Route;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ContentBuilder, HttpMethod, Ref, RefOr, Required, ResponseBuilder, Schema,
        header::HeaderBuilder,
        path::{Operation as Described, OperationBuilder, ParameterBuilder, ParameterIn},
        request_body::RequestBodyBuilder,
        security::SecurityRequirement,
    },
};

pub(super) const JSON: &str = "application/json";
pub(super) const JSON_LINES: [&str; 2] = ["application/x-ndjson", "application/jsonl"];
pub(super) const FORM: &str = "application/x-www-form-urlencoded";

/// A schema with its name.
pub(super) type Named = (String, RefOr<Schema>);

pub(super) struct Operation {
    pub(super) method: HttpMethod,
    /// As the server's router writes it: `/v1/jobs/{id}`.
    pub(super) path: &'static str,
    pub(super) route: fn() -> Route,
    described: OperationBuilder,
    schemas: Vec<Named>,
}

pub(super) fn get(path: &'static str, route: fn() -> Route, about: &str) -> Operation {
    Operation::new(HttpMethod::Get, path, route, about)
}

pub(super) fn post(path: &'static str, route: fn() -> Route, about: &str) -> Operation {
    Operation::new(HttpMethod::Post, path, route, about)
}

pub(super) fn patch(path: &'static str, route: fn() -> Route, about: &str) -> Operation {
    Operation::new(HttpMethod::Patch, path, route, about)
}

pub(super) fn delete(path: &'static str, route: fn() -> Route, about: &str) -> Operation {
    Operation::new(HttpMethod::Delete, path, route, about)
}

impl Operation {
    fn new(method: HttpMethod, path: &'static str, route: fn() -> Route, about: &str) -> Self {
        let words: Vec<&str> = path.split(['/', '{', '}', '.']).filter(|word| !["", "v1"].contains(word)).collect();
        let described = OperationBuilder::new()
            .tag(words.first().copied().unwrap_or("dashboard"))
            .operation_id(Some(format!("{}_{}", name_of(&method), words.join("_"))))
            .summary(Some(about));
        Self { method, path, route, described, schemas: Vec::new() }
    }

    /// For whoever has a token with this scope. Unknown parameters are refused.
    pub(super) fn needs(mut self, scope: Scope) -> Self {
        self.described = self
            .described
            .description(Some(format!("Needs the scope `{scope}`.")))
            .security(SecurityRequirement::new("token", [scope.as_str()]))
            .security(SecurityRequirement::new("session", [scope.as_str()]));
        self.counted().refuses(401).refuses(403).refuses(422).asks_the_database()
    }

    /// The limit by client applies.
    pub(super) fn counted(self) -> Self {
        self.refuses(429)
    }

    pub(super) fn asks_the_database(self) -> Self {
        self.refuses(503)
    }

    /// A part of the path.
    pub(super) fn part<T: ToSchema>(self, name: &str, about: &str) -> Self {
        self.parameter::<T>(ParameterIn::Path, name, about, Required::True)
    }

    /// A parameter of the query that may be missing.
    pub(super) fn query<T: ToSchema>(self, name: &str, about: &str) -> Self {
        self.parameter::<T>(ParameterIn::Query, name, about, Required::False)
    }

    /// A parameter of the query without which there is no answer.
    pub(super) fn needed_query<T: ToSchema>(self, name: &str, about: &str) -> Self {
        self.parameter::<T>(ParameterIn::Query, name, about, Required::True)
    }

    fn parameter<T: ToSchema>(mut self, place: ParameterIn, name: &str, about: &str, required: Required) -> Self {
        let parameter = ParameterBuilder::new()
            .name(name)
            .parameter_in(place)
            .required(required)
            .description(Some(about))
            .schema(Some(T::schema()));
        T::schemas(&mut self.schemas);
        self.described = self.described.parameter(parameter);
        self.refuses(422)
    }

    /// A body of this shape, in one of these content types.
    pub(super) fn takes<T: ToSchema>(mut self, content_types: &[&str]) -> Self {
        let schema = self.schema::<T>();
        let mut body = RequestBodyBuilder::new().required(Some(Required::True));
        for content_type in content_types {
            body = body.content(*content_type, ContentBuilder::new().schema(Some(schema.clone())).build());
        }
        self.described = self.described.request_body(Some(body.build()));
        [400, 408, 413, 415, 422].into_iter().fold(self, Self::refuses)
    }

    pub(super) fn answers<T: ToSchema>(self, status: u16, about: &str) -> Self {
        self.answers_in::<T>(status, JSON, about)
    }

    pub(super) fn answers_in<T: ToSchema>(mut self, status: u16, content_type: &str, about: &str) -> Self {
        let schema = self.schema::<T>();
        let content = ContentBuilder::new().schema(Some(schema)).build();
        self.answered(status, ResponseBuilder::new().description(about).content(content_type, content))
    }

    /// Without a body.
    pub(super) fn answers_empty(self, status: u16, about: &str) -> Self {
        self.answered(status, ResponseBuilder::new().description(about))
    }

    /// With a problem.
    pub(super) fn refuses(mut self, status: u16) -> Self {
        let content = ContentBuilder::new().schema(Some(self.schema::<Problem>())).build();
        let mut answer =
            ResponseBuilder::new().description(refusal(status)).content("application/problem+json", content);
        if [429, 503].contains(&status) {
            let seconds =
                HeaderBuilder::new().schema(Some(u64::schema())).description(Some("Seconds to wait.")).build();
            answer = answer.header("Retry-After", seconds);
        }
        self.answered(status, answer)
    }

    fn answered(mut self, status: u16, answer: ResponseBuilder) -> Self {
        self.described = self.described.response(status.to_string(), answer.build());
        self
    }

    /// By its name, where it has one.
    fn schema<T: ToSchema>(&mut self) -> RefOr<Schema> {
        let mut inner = Vec::new();
        T::schemas(&mut inner);
        self.schemas.append(&mut inner);
        let schema = T::schema();
        if !matches!(&schema, RefOr::T(Schema::Object(object)) if !object.properties.is_empty()) {
            return schema;
        }
        let name = T::name().into_owned();
        self.schemas.push((name.clone(), schema));
        Ref::from_schema_name(name).into()
    }

    pub(super) fn describe(self) -> (Described, Vec<Named>) {
        (self.described.build(), self.schemas)
    }
}

pub(super) fn name_of(method: &HttpMethod) -> &'static str {
    match method {
        HttpMethod::Post => "post",
        HttpMethod::Patch => "patch",
        HttpMethod::Delete => "delete",
        _ => "get",
    }
}

fn refusal(status: u16) -> &'static str {
    match status {
        400 => "The body ended before its announced length.",
        401 => "No token, or a wrong one.",
        403 => "The token lacks the scope, or the request is of another site's page.",
        404 => "There is no such thing.",
        408 => "The body did not come in time.",
        409 => "It is not in a state for this; `code` says in which.",
        410 => "It will not come.",
        412 => "A condition of the request does not hold.",
        413 => "The body is too large.",
        415 => "The body is of another content type.",
        416 => "The range is behind the end.",
        422 => "A field or a parameter is not valid; `errors` names each.",
        500 => "What is stored is not what was verified.",
        429 => "Too many requests of this client.",
        _ => {
            "The database or the lookup service does not answer, or not in time, or has as many questions as it may have, or the schema is older than this program."
        }
    }
}
