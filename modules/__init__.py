"""The stages, one file each: name -> "module:attribute", imported at first use. Code room."""

if __name__ != "scenepipe.modules":
    raise ImportError(f"import scenepipe.modules, not {__name__}: a second copy of a stage is a second class")

STAGES = {
    "sentencepiece": "scenepipe.modules.sentencepiece:SentencePieceTokenizer",
    "hf-tokenizer": "scenepipe.modules.hf_tokenizer:HFTokenizer",
    "remote-tokenizer": "scenepipe.modules.remote_tokenizer:RemoteTokenizer",
    "rule-scene": "scenepipe.modules.rule_scene:RuleScene",
    "llm-scene": "scenepipe.modules.llm_scene:LlmScene",
    "route": "scenepipe.modules.route:Route",
    "recall": "scenepipe.modules.recall:Recall",
    "decode": "scenepipe.modules.decode:Decode",
    "remember": "scenepipe.modules.remember:Remember",
    "render": "scenepipe.modules.render:Render",
}
