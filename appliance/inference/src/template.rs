//! Chat templates: the file's own, run with bounds, or the family's usual form where the file has none.
//!
//! A template is a program from a stranger. It gets the conversation and nothing else, a number of steps, a depth and an
//! output size; past them it is refused.

use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value, context};

use crate::{
    error::ModelError,
    gguf::Gguf,
    token::Tokenizer,
    types::{ChatMessage, ChatRole, Family},
};

/// Instructions that a template may execute for a conversation.
const MAX_STEPS: u64 = 1_000_000;
/// Depth of calls.
const MAX_DEPTH: usize = 64;
/// Longest template, bytes.
const MAX_TEMPLATE_BYTES: usize = 256 << 10;
/// Longest result, bytes.
const MAX_RENDERED_BYTES: usize = 2 << 20;
const NAME: &str = "chat";

/// A compiled template.
pub(crate) struct ChatTemplate {
    environment: Environment<'static>,
    begin: String,
    end: String,
    /// Whether the template takes a message of the role `system`.
    system: bool,
}

impl ChatTemplate {
    /// The file's template, or the family's.
    pub(crate) fn from_gguf(
        header: &Gguf,
        family: Family,
        tokenizer: &Tokenizer,
    ) -> Result<Self, ModelError> {
        let own = header.text("tokenizer.chat_template").filter(|source| !source.trim().is_empty());
        let source = own.unwrap_or_else(|| usual(family, tokenizer));
        let token =
            |id: Option<u32>| id.map(|id| tokenizer.vocabulary.text(id).to_owned()).unwrap_or_default();
        Self::compile(source, token(tokenizer.vocabulary.bos), token(tokenizer.vocabulary.eos))
    }

    fn compile(source: &str, begin: String, end: String) -> Result<Self, ModelError> {
        if source.len() > MAX_TEMPLATE_BYTES {
            return Err(ModelError::Template(format!("it is longer than {MAX_TEMPLATE_BYTES} bytes")));
        }
        let mut environment = Environment::new();
        environment.set_fuel(Some(MAX_STEPS));
        environment.set_recursion_limit(MAX_DEPTH);
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_undefined_behavior(UndefinedBehavior::Chainable);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |why: String| -> Result<String, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, why))
        });
        // Boards may not know the date; a constant keeps the prompt's prefix the same and answers repeatable.
        environment.add_function("strftime_now", |format: String| -> String {
            format.replace("%d", "26").replace("%b", "Jul").replace("%B", "July").replace("%Y", "2024")
        });
        environment.add_template_owned(NAME, source.to_owned()).map_err(refused)?;
        let mut template = Self { environment, begin, end, system: true };
        let probe = [ChatMessage::new(ChatRole::System, "s"), ChatMessage::new(ChatRole::User, "u")];
        if template.run(&probe).is_err() {
            template.system = false;
            template.run(&probe[1..])?;
        }
        Ok(template)
    }

    /// The conversation as the model was taught to read it, up to where its answer begins.
    pub(crate) fn render(&self, messages: &[ChatMessage]) -> Result<String, ModelError> {
        if self.system {
            return self.run(messages);
        }
        // Without a role for instructions they go before the first question.
        let mut merged: Vec<ChatMessage> = Vec::with_capacity(messages.len());
        let mut instructions = String::new();
        for message in messages {
            if message.role == ChatRole::System {
                instructions.push_str(&message.content);
                instructions.push_str("\n\n");
            } else {
                let content = std::mem::take(&mut instructions) + &message.content;
                merged.push(ChatMessage::new(message.role, content));
            }
        }
        self.run(&merged)
    }

    fn run(&self, messages: &[ChatMessage]) -> Result<String, ModelError> {
        let messages: Vec<Value> = messages
            .iter()
            .map(|message| context! { role => message.role.as_str(), content => message.content })
            .collect();
        let template = self.environment.get_template(NAME).map_err(refused)?;
        let mut out = Bounded(Vec::new());
        template
            .render_captured_to(
                context! {
                    messages => messages,
                    add_generation_prompt => true,
                    bos_token => self.begin,
                    eos_token => self.end,
                    // Small boards cannot afford minutes of thinking aloud.
                    enable_thinking => false,
                },
                &mut out,
            )
            .map_err(refused)?;
        String::from_utf8(out.0).map_err(|error| ModelError::Template(error.to_string()))
    }
}

fn refused(error: Error) -> ModelError {
    let reason = match error.kind() {
        ErrorKind::OutOfFuel => format!("it does not end within {MAX_STEPS} steps"),
        ErrorKind::WriteFailure => format!("its result is longer than {MAX_RENDERED_BYTES} bytes"),
        _ => error.to_string().chars().take(500).collect(),
    };
    ModelError::Template(reason)
}

/// A buffer that refuses to grow beyond the limit.
struct Bounded(Vec<u8>);

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_RENDERED_BYTES {
            return Err(std::io::Error::other("the result is too long"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

// A newline at the very end of a template is dropped, as Jinja does; those that count are written as expressions.
const CHATML: &str = "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n\
    {% endfor %}<|im_start|>assistant{{ '\\n' }}";
const LLAMA3: &str = "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message.role }}<|end_header_id|>\n\n\
    {{ message.content | trim }}<|eot_id|>{% endfor %}<|start_header_id|>assistant<|end_header_id|>{{ '\\n\\n' }}";
const GEMMA: &str = "{{ bos_token }}{% for message in messages %}{% if message.role == 'system' %}\
    {{ raise_exception('no system role') }}{% endif %}<start_of_turn>\
    {{ 'model' if message.role == 'assistant' else message.role }}\n{{ message.content | trim }}<end_of_turn>\n\
    {% endfor %}<start_of_turn>model{{ '\\n' }}";
const PHI3: &str = "{% for message in messages %}<|{{ message.role }}|>\n{{ message.content }}<|end|>\n{% endfor %}<|assistant|>{{ '\\n' }}";
const PLAIN: &str = "{{ bos_token }}{% for message in messages %}{{ message.role | title }}: {{ message.content }}\n\
    {% endfor %}Assistant:";

/// The family's usual form, as far as the vocabulary has the tokens for it.
fn usual(family: Family, tokenizer: &Tokenizer) -> &'static str {
    let has = |token: &str| tokenizer.is_control(token);
    match family {
        Family::Gemma3 if has("<start_of_turn>") => GEMMA,
        Family::Phi3 if has("<|assistant|>") => PHI3,
        _ if has("<|start_header_id|>") => LLAMA3,
        _ if has("<|im_start|>") => CHATML,
        _ => PLAIN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(source: &str) -> Result<ChatTemplate, ModelError> {
        ChatTemplate::compile(source, "<s>".into(), "</s>".into())
    }

    fn conversation() -> Vec<ChatMessage> {
        vec![
            ChatMessage::new(ChatRole::System, "Be brief."),
            ChatMessage::new(ChatRole::User, " Where is water? "),
        ]
    }

    #[test]
    fn a_template_gets_the_conversation_and_the_tokens() {
        let text = compile(CHATML).unwrap().render(&conversation()).unwrap();
        assert_eq!(
            text,
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Where is water? <|im_end|>\n<|im_start|>assistant\n"
        );
        let text = compile(PLAIN).unwrap().render(&conversation()).unwrap();
        assert_eq!(text, "<s>System: Be brief.\nUser:  Where is water? \nAssistant:");
    }

    #[test]
    fn instructions_go_to_the_first_question_where_there_is_no_role_for_them() {
        let text = compile(GEMMA).unwrap().render(&conversation()).unwrap();
        assert_eq!(
            text,
            "<s><start_of_turn>user\nBe brief.\n\n Where is water?<end_of_turn>\n<start_of_turn>model\n"
        );
    }

    #[test]
    fn what_templates_in_use_call_is_there() {
        let source = "{%- set ns = namespace(n=0) -%}{%- for m in messages if m['role'].startswith('u') -%}\
            {%- set ns.n = ns.n + 1 -%}{{ m.content.strip().split(' ')[0].upper() }}{%- endfor -%}{{ ns.n }}\
            {{ strftime_now('%Y') }}{{ messages | tojson | length > 2 }}";
        assert_eq!(compile(source).unwrap().render(&conversation()).unwrap(), "WHERE12024True");
    }

    #[test]
    fn a_template_that_loops_or_recurses_or_floods_is_refused() {
        let endless = "{% for a in range(10000) %}{% for b in range(10000) %}{% endfor %}{% endfor %}";
        assert!(matches!(compile(endless), Err(ModelError::Template(why)) if why.contains("steps")));
        let recursive = "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}";
        assert!(matches!(compile(recursive), Err(ModelError::Template(_))));
        let flood = "{% set a = 'x' * 100000 %}{% for i in range(1000) %}{{ a }}{% endfor %}";
        assert!(matches!(compile(flood), Err(ModelError::Template(_))));
        assert!(matches!(compile("{% if %}"), Err(ModelError::Template(_))));
        assert!(matches!(compile("{{ raise_exception('not for you') }}"), Err(ModelError::Template(_))));
    }
}
