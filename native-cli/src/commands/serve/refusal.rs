//! What a request is answered with that cannot be answered: in OpenAI's shape, or in Anthropic's
//! where a client speaks that.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use ternary::infer;
use ternary::session::Error;
use ternary::words::counted;

/// Why a request is not answered.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub status: StatusCode,
    pub message: String,
    /// The parameter that is wrong.
    pub param: Option<String>,
    /// For programs.
    pub code: Option<&'static str>,
    /// Seconds after which it may work.
    pub retry_after: Option<u64>,
}

impl Refusal {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Refusal {
            status,
            message: message.into(),
            param: None,
            code: None,
            retry_after: None,
        }
    }

    /// A parameter with a value that cannot be.
    pub fn invalid(param: impl Into<String>, message: impl AsRef<str>) -> Self {
        let param = param.into();
        Refusal {
            message: format!("`{param}`: {}", message.as_ref()),
            param: Some(param),
            code: Some("invalid_value"),
            ..Refusal::new(StatusCode::BAD_REQUEST, "")
        }
    }

    /// A parameter that this server does not have.
    pub fn unsupported(param: impl Into<String>, why: impl AsRef<str>) -> Self {
        Refusal {
            code: Some("unsupported_parameter"),
            ..Refusal::invalid(param, why)
        }
    }

    /// A body that cannot be read.
    pub fn body(message: impl Into<String>) -> Self {
        Refusal {
            code: Some("invalid_body"),
            ..Refusal::new(StatusCode::BAD_REQUEST, message)
        }
    }

    /// A prompt that leaves no room for a reply.
    pub fn too_long(param: &str, tokens: usize, context: usize) -> Self {
        let message = format!(
            "the prompt takes {}; the context is {}, of which the reply needs at least one. Shorten it: leave out the oldest messages, or send fewer texts at once",
            counted(tokens, "token"),
            counted(context, "token")
        );
        Refusal {
            code: Some("context_length_exceeded"),
            ..Refusal::invalid(param, message)
        }
    }

    /// A text that is only read, and does not fit.
    pub fn too_long_to_read(param: &str, tokens: usize, context: usize) -> Self {
        let message = format!(
            "the text takes {}; the context is {context}. Send it in pieces of {context} or fewer; /tokenize counts them",
            counted(tokens, "token"),
            context = counted(context, "token")
        );
        Refusal {
            code: Some("context_length_exceeded"),
            ..Refusal::invalid(param, message)
        }
    }

    /// What tokenizers and templates say.
    pub fn of(e: impl Into<Error>) -> Self {
        e.into().into()
    }

    /// The server's own fault.
    pub fn failed(message: impl Into<String>) -> Self {
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    pub fn with_code(self, code: &'static str) -> Self {
        Refusal {
            code: Some(code),
            ..self
        }
    }

    pub fn retry_after(self, seconds: u64) -> Self {
        Refusal {
            retry_after: Some(seconds),
            ..self
        }
    }

    fn openai_type(&self) -> &'static str {
        match self.status.as_u16() {
            401 => "authentication_error",
            403 => "permission_error",
            429 => "rate_limit_error",
            400..=499 => "invalid_request_error",
            _ => "server_error",
        }
    }

    fn anthropic_type(&self) -> &'static str {
        match self.status.as_u16() {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            413 => "request_too_large",
            429 => "rate_limit_error",
            400..=499 => "invalid_request_error",
            503 => "overloaded_error",
            504 => "timeout_error",
            _ => "api_error",
        }
    }

    /// As a client of OpenAI's expects it.
    pub fn openai(&self) -> Value {
        json!({"error": {"message": self.message, "type": self.openai_type(), "param": self.param,
            "code": self.code}})
    }

    /// As a client of Anthropic's expects it.
    pub fn anthropic(&self) -> Value {
        json!({"type": "error", "error": {"type": self.anthropic_type(), "message": self.message}})
    }

    /// The whole answer, in the shape that goes with `path`.
    pub fn response(&self, path: &str) -> Response {
        let body = match path.starts_with("/v1/messages") {
            true => self.anthropic(),
            false => self.openai(),
        };
        let mut response = super::body::json(&body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// Its shape depends on the path, which whoever made it need not know: it is written out by the
/// outermost layer.
impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status;
        response.extensions_mut().insert(self);
        response
    }
}

/// What the engine says.
impl From<Error> for Refusal {
    fn from(e: Error) -> Self {
        match e {
            Error::PromptTooLong { tokens, context } => {
                Refusal::too_long("prompt", tokens, context)
            }
            // A template refuses a conversation; a text cannot be encoded.
            Error::Common(e) => Refusal::body(e.to_string()),
            Error::Infer(
                e @ (infer::Error::UnknownToken { .. }
                | infer::Error::NoTokens
                | infer::Error::Sampling { .. }),
            ) => Refusal::body(e.to_string()),
            Error::NoTokenizer | Error::NoChatTemplate => Refusal::invalid("model", e.to_string()),
            e => Refusal::failed(e.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_have_the_shape_of_the_client() {
        let refusal = Refusal::invalid("top_p", "expected 0 to 1, found 2");
        assert_eq!(
            refusal.openai(),
            json!({"error": {"message": "`top_p`: expected 0 to 1, found 2",
                "type": "invalid_request_error", "param": "top_p", "code": "invalid_value"}})
        );
        assert_eq!(
            refusal.anthropic(),
            json!({"type": "error", "error": {"type": "invalid_request_error",
                "message": "`top_p`: expected 0 to 1, found 2"}})
        );
        let busy = Refusal::new(StatusCode::TOO_MANY_REQUESTS, "full").retry_after(3);
        let response = busy.response("/v1/messages");
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["retry-after"], "3");
        let too_long = Refusal::from(Error::PromptTooLong {
            tokens: 9,
            context: 8,
        });
        assert_eq!(
            (too_long.status.as_u16(), too_long.code),
            (400, Some("context_length_exceeded"))
        );
    }
}
