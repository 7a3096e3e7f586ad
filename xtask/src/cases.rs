//! `cargo xtask cases`: the inputs and uses that broke similar programs, as a table of what holds
//! them right.

use std::collections::HashMap;

use anyhow::{Result, bail};

/// What became of each test, by its name.
pub type Outcomes = HashMap<String, String>;

struct Case {
    number: &'static str,
    right: &'static str,
    /// Of the command line (`tests/cases`, `tests/cli`) and of the page (`tests/page`), as their
    /// programs name them.
    tests: &'static [&'static str],
}

const fn case(number: &'static str, right: &'static str, tests: &'static [&'static str]) -> Case {
    Case {
        number,
        right,
        tests,
    }
}

/// The test program of the command line's cases.
pub const NATIVE: &str = "cases";
/// The page's cases among its tests.
pub const PAGE: &str = "cases::";

const CASES: &[Case] = &[
    case(
        "01",
        "BitNet's own GGUF without a pre-tokenizer is imported",
        &["imports::microsofts_bitnet_without_a_pre_tokenizer_is_split_as_llama_3"],
    ),
    case(
        "02",
        "common pre-tokenizers are known, others refused with advice",
        &["imports::common_pre_tokenizers_of_gguf_files_are_known"],
    ),
    case(
        "03",
        "the first generated word keeps its space",
        &[
            "texts::the_first_generated_word_keeps_its_space",
            "texts::text_behind_a_stray_byte_is_streamed_whole",
        ],
    ),
    case(
        "04",
        "truncation and padding of a tokenizer.json are not obeyed",
        &["tokenizers::truncation_and_padding_are_not_obeyed"],
    ),
    case(
        "05",
        "LFS pointers and web pages are called by their name",
        &[
            "imports::lfs_pointers_and_web_pages_are_called_by_their_name",
            "tokenizers::a_tokenizer_that_is_none_is_found_out_at_import",
        ],
    ),
    case(
        "06",
        "stale and missing indices",
        &[
            "imports::a_whole_model_is_taken_beside_an_index_left_over",
            "imports::parts_without_an_index_or_with_a_wrong_one_are_taken_together",
        ],
    ),
    case(
        "07",
        "an embedding stored as the head is found",
        &["imports::an_embedding_stored_as_the_head_is_found"],
    ),
    case(
        "08",
        "tensors that inference does not need are left out by role",
        &["imports::tensors_that_inference_does_not_need_are_left_out_by_their_role"],
    ),
    case(
        "09",
        "heads wider than hidden / heads",
        &["imports::heads_wider_than_hidden_by_heads_run_everywhere"],
    ),
    case(
        "10",
        "linear RoPE scaling of older GGUF files",
        &["imports::linear_rope_of_older_gguf_files_is_seen"],
    ),
    case(
        "11",
        "RoPE parameters of every version of transformers",
        &["imports::rope_parameters_are_read_in_every_versions_way"],
    ),
    case(
        "12",
        "tokens without a row in the model are letters",
        &["imports::tokens_that_the_model_has_no_rows_for_are_letters"],
    ),
    case(
        "13",
        "files are known by their first bytes",
        &[
            "imports::files_are_known_by_their_first_bytes",
            "cases::a_model_is_known_by_its_first_bytes",
        ],
    ),
    case(
        "14",
        "a GGUF file in parts is put together",
        &["imports::a_gguf_file_in_parts_is_put_together"],
    ),
    case(
        "15",
        "an adapter is not taken for a model",
        &[
            "imports::an_adapter_is_not_taken_for_a_model",
            "cases::an_adapter_where_a_model_is_expected_is_called_one",
        ],
    ),
    case(
        "16",
        "byte order marks are skipped",
        &[
            "imports::a_byte_order_mark_is_skipped_in_every_json",
            "cases::a_folder_whose_json_has_byte_order_marks_is_imported",
        ],
    ),
    case(
        "17",
        "a context that does not fit is shortened",
        &[
            "hostile::a_context_out_of_all_proportion_takes_no_memory",
            "cases::a_context_that_does_not_fit_is_shortened_not_refused",
        ],
    ),
    case(
        "18",
        "tags of training are ignored, a bad template costs the chat only",
        &[
            "templates::tags_of_training_are_ignored",
            "templates::a_template_that_cannot_be_used_costs_the_chat_only",
        ],
    ),
    case(
        "20",
        "strftime_now gives today's date",
        &[
            "templates::todays_date_is_known",
            "cases::templates_that_want_a_date_parts_or_no_system_message_are_answered",
        ],
    ),
    case(
        "21",
        "contents are given as parts where a template wants them",
        &["templates::messages_are_given_as_parts_where_texts_do_not_come_out"],
    ),
    case(
        "22",
        "a system message goes where the template takes it",
        &["templates::a_system_message_goes_where_the_template_takes_it"],
    ),
    case(
        "23",
        "a prompt is not closed by the tokenizer",
        &["texts::a_prompt_is_not_closed_by_the_tokenizers_end_token"],
    ),
    case(
        "24",
        "special tokens that somebody types are letters",
        &[
            "texts::special_tokens_that_somebody_types_are_letters",
            "cases::special_tokens_in_a_message_are_letters",
        ],
    ),
    case(
        "25",
        "special tokens stop, and a role's mark ends a reply",
        &[
            "texts::special_tokens_given_as_stop_texts_stop",
            "texts::a_words_mark_of_a_role_ends_a_reply",
        ],
    ),
    case(
        "27",
        "a word of a megabyte takes seconds",
        &["texts::a_word_of_a_megabyte_takes_seconds"],
    ),
    case(
        "28",
        "texts are decoded by their mark or refused with the line",
        &[
            "texts::texts_are_decoded_by_their_mark_or_refused_with_the_line",
            "cases::texts_are_decoded_by_their_mark_or_refused_with_the_line",
        ],
    ),
    case(
        "29",
        "JSON lines and arrays as Python writes them",
        &[
            "texts::json_is_read_as_python_writes_it",
            "texts::an_evaluation_takes_what_training_takes",
            "cases::json_lines_and_arrays_are_read_as_documents",
        ],
    ),
    case(
        "30",
        "a warm-up longer than the run is shortened",
        &["training::a_warm_up_longer_than_the_run_is_shortened_and_said"],
    ),
    case(
        "31",
        "signals save a checkpoint",
        &["training::signals_save_a_checkpoint"],
    ),
    case(
        "32",
        "a full disk makes room and leaves nothing half",
        &[
            "training::a_full_disk_makes_room_and_leaves_no_half_checkpoint",
            "training::a_damaged_newest_checkpoint_is_passed_over",
        ],
    ),
    case(
        "33",
        "an input method's Enter does not send",
        &["cases::an_input_methods_enter_does_not_send"],
    ),
    case(
        "34",
        "single tildes, line breaks and links in Markdown",
        &["cases::prices_line_breaks_and_links_are_shown_as_they_were_meant"],
    ),
    case(
        "35",
        "a long reply leaves the page responsive",
        &["cases::a_reply_of_many_paragraphs_leaves_the_page_responsive"],
    ),
    case(
        "37",
        "thoughts are folded",
        &["cases::what_a_model_thinks_is_folded"],
    ),
    case(
        "38",
        "a browser that keeps no files still chats",
        &["cases::a_browser_that_keeps_no_files_chats_and_says_so_before_an_import"],
    ),
    case(
        "39",
        "the kept page answers for a site in trouble",
        &[
            "cases::a_site_in_trouble_is_answered_for_by_the_kept_page",
            "cases::two_copies_of_the_page_on_one_site_keep_their_own_files",
        ],
    ),
    case(
        "40",
        "saved files' addresses stay for a minute",
        &["cases::the_address_of_a_saved_file_stays_for_a_minute"],
    ),
    case(
        "41",
        "pickers grey no file out",
        &["cases::pickers_grey_no_file_out"],
    ),
    case(
        "42",
        "several texts and folders are learned from as a whole",
        &["cases::several_texts_and_folders_are_learned_from_as_a_whole"],
    ),
    case(
        "43",
        "standard error that closes ends no work",
        &["command_line::standard_error_that_closes_ends_no_work"],
    ),
    case(
        "44",
        "pipes and - where a text is meant",
        &[
            "command_line::texts_come_through_pipes_and_dashes",
            "command_line::process_substitution_is_read_once",
        ],
    ),
    case(
        "45",
        "names that are not UTF-8",
        &["command_line::names_need_not_be_utf8"],
    ),
    case(
        "46",
        "pasted lines are one message, a bad line is an error of its own",
        &["command_line::a_chat_takes_blocks_and_survives_bad_lines"],
    ),
    case(
        "47",
        "llama.cpp's -1",
        &[
            "command_line::what_llama_cpp_calls_minus_one_is_understood",
            "command_line::flags_are_checked_before_a_model_is_loaded",
        ],
    ),
    case(
        "hostile",
        "templates and tokenizers of strangers",
        &[
            "hostile::templates_of_strangers_end",
            "hostile::tokenizers_of_strangers_break_nothing",
            "cases::a_template_that_never_ends_is_given_up",
        ],
    ),
    case(
        "hostile",
        "shapes, values and names of strangers",
        &[
            "hostile::every_reader_checks_shapes",
            "hostile::damaged_codes_are_refused_or_used_but_never_break_a_reader",
            "hostile::values_that_are_not_finite_are_refused",
            "hostile::control_characters_do_not_reach_the_terminal",
        ],
    ),
    case(
        "hostile",
        "one output, two writers",
        &[
            "command_line::two_imports_to_one_name_leave_one_whole_file",
            "training::two_trainings_do_not_share_a_folder",
        ],
    ),
    case(
        "hostile",
        "sizes out of all proportion, steps as numbers",
        &[
            "training::sizes_out_of_all_proportion_are_refused",
            "training::steps_are_sorted_as_numbers",
        ],
    ),
];

/// Print the table; with `whole`, a test that did not run counts as wrong.
///
/// # Errors
/// A case that is not right.
pub fn table(outcomes: &Outcomes, whole: bool) -> Result<()> {
    println!("\n    case     right");
    let mut wrong = 0;
    for case in CASES {
        let mut said = Vec::new();
        for test in case.tests {
            let outcome = match outcomes.get(*test).map(String::as_str) {
                Some("ok") => continue,
                Some(outcome) => outcome,
                None if whole => "did not run",
                None => continue,
            };
            said.push(format!("{test}: {outcome}"));
        }
        let ran = case.tests.iter().any(|test| outcomes.contains_key(*test));
        let verdict = match (said.is_empty(), ran) {
            (true, true) => "right",
            (true, false) => "-",
            (false, _) => {
                wrong += 1;
                "WRONG"
            }
        };
        println!("    {:8} {verdict:6} {}", case.number, case.right);
        said.iter()
            .for_each(|text| println!("                    {text}"));
    }
    if wrong > 0 {
        bail!("{wrong} of {} cases are not right", CASES.len());
    }
    Ok(())
}
