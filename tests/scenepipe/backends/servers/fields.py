"""Fields that each endpoint documents. The fake servers refuse a request with any other; the real ones often ignore it.

Written from the servers' own documentation, apart from the table of flavours that is tested with it.
"""

from __future__ import annotations

_OPENAI_BOTH = "model frequency_penalty logit_bias max_tokens n presence_penalty seed stop stream stream_options temperature top_p user"
_VLLM_BOTH = (
    "use_beam_search top_k min_p repetition_penalty length_penalty stop_token_ids include_stop_str_in_output ignore_eos "
    "min_tokens skip_special_tokens spaces_between_special_tokens truncate_prompt_tokens allowed_token_ids prompt_logprobs "
    "bad_words add_special_tokens response_format structured_outputs priority request_id return_tokens_as_token_ids "
    "return_token_ids cache_salt kv_transfer_params vllm_xargs watermarking stream_interval"
)
_SGLANG_BOTH = (
    "top_k min_p min_tokens json_schema regex ebnf repetition_penalty stop_token_ids no_stop_trim ignore_eos "
    "skip_special_tokens lora_path session_params response_format custom_logit_processor rid priority"
)
_LLAMA = (
    "temperature dynatemp_range dynatemp_exponent top_k top_p min_p n_indent n_keep n_cmpl n_cache_reuse stream stop "
    "typical_p repeat_penalty repeat_last_n presence_penalty frequency_penalty dry_multiplier dry_base dry_allowed_length "
    "xtc_probability xtc_threshold mirostat mirostat_tau mirostat_eta grammar json_schema seed ignore_eos logit_bias n_probs "
    "min_keep t_max_predict_ms id_slot cache_prompt return_tokens samplers timings_per_token post_sampling_probs "
    "response_fields lora"
)
_TABBY = (
    "model stream stream_options logprobs response_format n max_tokens min_tokens stop banned_strings banned_tokens "
    "temperature temperature_last top_k top_p top_a min_p tfs typical frequency_penalty presence_penalty repetition_penalty "
    "penalty_range logit_bias json_schema regex_pattern grammar_string add_bos_token ban_eos_token skip_special_tokens user"
)
_FASTCHAT = "model temperature n max_tokens stop stream top_p presence_penalty frequency_penalty user"
_LMSTUDIO = (
    "model top_p top_k temperature max_tokens stream stream_options stop presence_penalty frequency_penalty logit_bias "
    "repeat_penalty seed"
)
_LMDEPLOY_BOTH = (
    "model temperature n logprobs max_completion_tokens max_tokens stop stream stream_options top_p presence_penalty "
    "frequency_penalty user repetition_penalty session_id ignore_eos skip_special_tokens spaces_between_special_tokens top_k "
    "seed min_p return_token_ids"
)
_TRITON = (
    "text_input image stream sampling_parameters exclude_input_in_output return_finish_reason return_cumulative_logprob "
    "return_logprobs return_num_input_tokens return_num_output_tokens parameters"
)
_COMPLETIONS = {
    "vllm": f"{_OPENAI_BOTH} prompt echo logprobs suffix {_VLLM_BOTH}",
    "generic": f"{_OPENAI_BOTH} prompt best_of echo logprobs suffix",
    "nim": f"{_OPENAI_BOTH} prompt best_of echo logprobs suffix response_format nvext",
    "sglang": f"{_OPENAI_BOTH} prompt best_of echo logprobs suffix {_SGLANG_BOTH}",
    "lmdeploy": f"{_LMDEPLOY_BOTH} prompt suffix echo",
    "lm-studio": f"{_LMSTUDIO} prompt",
    "fastchat": f"{_FASTCHAT} prompt suffix logprobs echo",
    "tabbyapi": f"{_TABBY} prompt best_of echo suffix",
}
_CHAT_MORE = "messages logprobs top_logprobs response_format reasoning_effort max_completion_tokens tools tool_choice"
_CHAT = {
    "vllm": f"{_OPENAI_BOTH} {_CHAT_MORE} include_reasoning parallel_tool_calls {_VLLM_BOTH}",
    "llama-server": f"{_OPENAI_BOTH} {_CHAT_MORE} parallel_tool_calls {_LLAMA}",
    "generic": f"{_OPENAI_BOTH} {_CHAT_MORE} parallel_tool_calls store metadata",
    "ollama": (
        "model messages stream stream_options max_tokens seed stop temperature frequency_penalty presence_penalty top_p "
        "response_format tools reasoning reasoning_effort"
    ),
    "tgi": (
        "model messages frequency_penalty guideline logit_bias logprobs max_tokens n presence_penalty response_format seed "
        "stop stream stream_options temperature tool_choice tool_prompt tools top_logprobs top_p"
    ),
    "nim": f"{_OPENAI_BOTH} {_CHAT_MORE} parallel_tool_calls nvext",
    "sglang": f"{_OPENAI_BOTH} {_CHAT_MORE} {_SGLANG_BOTH}",
    "lmdeploy": f"{_LMDEPLOY_BOTH} messages tools tool_choice top_logprobs logit_bias reasoning_effort response_format",
    "lm-studio": f"{_LMSTUDIO} messages tools response_format",
    "fastchat": f"{_FASTCHAT} messages",
    "tabbyapi": f"{_TABBY} messages tools add_generation_prompt",
}


def fields(flavour: str, path: str) -> frozenset[str]:
    """Top-level fields of a request to one endpoint; empty where nothing is known of the endpoint."""
    tables = {"/v1/completions": _COMPLETIONS, "/v1/chat/completions": _CHAT}
    own = {
        ("llama-server", "/completion"): f"prompt n_predict {_LLAMA}",
        ("llama-server", "/tokenize"): "content add_special parse_special with_pieces",
        ("llama-server", "/detokenize"): "tokens",
        ("tgi", "/generate_stream"): "inputs parameters",
        ("tgi", "/tokenize"): "inputs parameters add_special_tokens",
        ("ollama", "/api/generate"): (
            "model prompt suffix images format system template stream think raw keep_alive options logprobs top_logprobs"
        ),
        ("vllm", "/tokenize"): "model prompt add_special_tokens return_token_strs",
        ("vllm", "/detokenize"): "model tokens",
        ("vllm", "/v1/load_lora_adapter"): "lora_name lora_path load_inplace is_3d_lora_weight",
        ("vllm", "/v1/unload_lora_adapter"): "lora_name lora_int_id",
        ("tabbyapi", "/v1/token/encode"): "text add_bos_token encode_special_tokens decode_special_tokens",
        ("triton", "/v2/models/base-model/generate_stream"): _TRITON,
        ("triton", "/v2/models/base-model/generate"): _TRITON,
        ("triton", "/v2/repository/index"): "ready",
        ("lmdeploy", "/v1/encode"): "input do_preprocess add_bos",
    }
    named = own.get((flavour, path)) or tables.get(path, {}).get(flavour, "")
    return frozenset(named.split())


TGI_PARAMETERS = frozenset(
    [
        "adapter_id",
        "best_of",
        "decoder_input_details",
        "details",
        "do_sample",
        "frequency_penalty",
        "grammar",
        "max_new_tokens",
        "repetition_penalty",
        "return_full_text",
        "seed",
        "stop",
        "temperature",
        "top_k",
        "top_n_tokens",
        "top_p",
        "truncate",
        "typical_p",
        "watermark",
    ]
)
OLLAMA_OPTIONS = frozenset(
    [
        "seed",
        "temperature",
        "top_k",
        "top_p",
        "min_p",
        "stop",
        "num_ctx",
        "num_predict",
        "repeat_penalty",
        "repeat_last_n",
        "num_gpu",
        "num_thread",
    ]
)
TRITON_SAMPLING = frozenset(
    [
        "n",
        "presence_penalty",
        "frequency_penalty",
        "repetition_penalty",
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "seed",
        "stop",
        "stop_token_ids",
        "ignore_eos",
        "max_tokens",
        "min_tokens",
        "logprobs",
        "prompt_logprobs",
        "structured_outputs",
        "guided_decoding",
        "lora_name",
    ]
)
