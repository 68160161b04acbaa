"""Validation of peft's adapter_config.json: a setting that would be ignored is rejected by name."""

from collections.abc import Mapping
from typing import Any

from poziomka.core.errors import ModelError

OFF: tuple[Any, ...] = (None, False, [], {}, "")  # values of a setting that is off
READ = {"r", "lora_alpha", "lora_dropout", "target_modules", "base_model_name_or_path"}
SILENT = {  # settings without effect on the output of trained adapters
    *("inference_mode", "peft_version", "auto_mapping", "megatron_core", "qalora_group_size", "eva_config"),
    "layers_pattern",  # used only with layers_to_transform, which is rejected
}
ALLOWED: dict[str, tuple[Any, ...]] = {  # values beside OFF; every other setting must be off
    "peft_type": ("LORA",),
    "task_type": ("CAUSAL_LM",),
    "bias": ("none",),
    "revision": ("main",),
    "init_lora_weights": (True, "gaussian", "orthogonal", "eva"),  # others change the base model too
}


def demand_plain(config: Mapping[str, Any], where: str) -> None:
    """Raises ModelError if an adapter config describes anything but plain LoRA.

    Args:
        config: contents of an adapter_config.json.
        where: the folder, for error messages.
    """
    strange = [
        f"{name} {str(value)[:40]!r}"
        for name, value in config.items()
        if name not in READ | SILENT and value not in OFF and value not in ALLOWED.get(name, ())
    ]
    if config.get("peft_type") in OFF:
        strange.append("no peft_type")
    if strange:
        message = (
            f"the adapters {where} are of a kind that is not supported: adapter_config.json says {', '.join(strange)}; "
            "plain LoRA on all of attention, all of the feed-forward, or both is supported"
        )
        raise ModelError(message)
