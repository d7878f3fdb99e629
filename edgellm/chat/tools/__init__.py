"""Tool calls as models write them: one file a format, and the table that chooses one.

The first row that a chat template's source speaks is its format: narrower ones stand first.
"""

from edgellm.chat.tools import (
    apertus,
    command_r,
    deepseek,
    dsml,
    functionary,
    functiongemma,
    gemma4,
    generic,
    gigachat,
    glm,
    granite,
    harmony,
    hermes,
    hunyuan,
    hy3,
    kimi,
    kimi_k3,
    lfm2,
    llama3,
    minicpm5,
    minimax,
    minimax_m3,
    mistral,
    nemotron,
    olmo3,
    phi4,
    qwen_coder,
    seed_oss,
    solar,
)
from edgellm.chat.tools.format import Format

FORMATS = (
    harmony.FORMAT,
    mistral.WITH_ARGUMENTS,
    mistral.LIST,
    dsml.V3,
    dsml.V4,
    deepseek.FENCED,
    deepseek.BARE,
    kimi.FORMAT,
    kimi_k3.FORMAT,
    solar.FORMAT,
    command_r.FORMAT,
    gemma4.FORMAT,
    functiongemma.FORMAT,
    apertus.FORMAT,
    lfm2.FORMAT,
    olmo3.FORMAT,
    nemotron.FORMAT,
    phi4.FORMAT,
    granite.FORMAT,
    gigachat.FORMAT,
    gigachat.IN_MESSAGES,
    hy3.FORMAT,
    hunyuan.FORMAT,
    minicpm5.FORMAT,
    glm.FORMAT,
    seed_oss.FORMAT,
    minimax.FORMAT,
    minimax_m3.FORMAT,
    qwen_coder.FORMAT,
    hermes.FORMAT,
    functionary.TO_RECIPIENTS,
    functionary.FORMAT,
    llama3.FORMAT,
    generic.FORMAT,
)


def format_of(source: str) -> Format:
    return next(one for one in FORMATS if one.speaks(source))
