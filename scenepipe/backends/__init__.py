"""One file per engine: name -> "module:attribute", imported at first use."""

BACKENDS = {
    "llama-cpp": "scenepipe.backends.llama_cpp:LlamaCpp",
    "transformers": "scenepipe.backends.transformers:Transformers",
    "vllm": "scenepipe.backends.vllm:Vllm",
    "openai": "scenepipe.backends.openai:OpenAI",
    "triton": "scenepipe.backends.triton:Triton",
    "fake": "scenepipe.testing.fake_backend:FakeBackend",
}
