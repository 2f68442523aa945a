//! `/openapi.json`: the description of what this process serves, from the table that it is served by.

use super::{
    operation::{Named, Operation},
    routes,
};
use actix_web::{HttpResponse, http::header, web};
use utoipa::openapi::{
    Components, ComponentsBuilder, Info, LicenseBuilder, OpenApiBuilder, PathItem, PathsBuilder,
    security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
};

/// The document as it is sent.
#[derive(Clone)]
pub(super) struct Document(web::Bytes);

impl Document {
    pub(super) fn new(operations: Vec<Operation>) -> Self {
        let (mut paths, mut schemas) = (PathsBuilder::new(), Vec::<Named>::new());
        for operation in operations {
            let (path, method) = (operation.path, operation.method.clone());
            let (described, named) = operation.describe();
            schemas.extend(named);
            paths = paths.path(path, PathItem::new(method, described));
        }
        let mut info = Info::new("callspool", env!("CARGO_PKG_VERSION"));
        info.description = Some(env!("CARGO_PKG_DESCRIPTION").to_owned());
        let license = env!("CARGO_PKG_LICENSE");
        info.license = Some(LicenseBuilder::new().name(license).identifier(Some(license)).build());
        let document = OpenApiBuilder::new().info(info).paths(paths).components(Some(components(schemas))).build();
        let json = document.to_json().unwrap_or_else(|_| unreachable!("a document of plain texts is JSON"));
        Self(json.into())
    }
}

/// The document of a process with every role.
pub fn openapi_document() -> String {
    String::from_utf8_lossy(&Document::new(routes::all()).0).into_owned()
}

fn components(schemas: Vec<Named>) -> Components {
    let token = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
    let session = ApiKey::Cookie(ApiKeyValue::new("callspool_session"));
    ComponentsBuilder::new()
        .schemas_from_iter(schemas)
        .security_scheme("token", SecurityScheme::Http(token))
        .security_scheme("session", SecurityScheme::ApiKey(session))
        .build()
}

/// Nothing in it is secret, so it needs no token.
pub async fn show(document: web::Data<Document>) -> HttpResponse {
    HttpResponse::Ok().insert_header((header::CONTENT_TYPE, "application/json")).body(document.0.clone())
}
