"""The two networks that train_demo.py trains, in plain PyTorch: a Llama and a Mamba-2.

Tensor names and arithmetic are those of transformers' LlamaForCausalLM and Mamba2ForCausalLM, so that a state_dict is the file that they load. Shapes in comments:
b texts, t tokens, d width, h heads, p width of a head, n state, c chunks of q tokens.

Sources: Touvron et al. 2023 (arXiv:2302.13971) and Su et al. 2021 (arXiv:2104.09864) for the Llama; Dao & Gu 2024 (arXiv:2405.21060), section 6 and listing 1,
for the Mamba-2.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

# Up to here attention written out takes half of the library's time on a CPU, from here the library's less.
SHORT = 512

LLAMA = dict(hidden_size=192, intermediate_size=512, num_hidden_layers=5, num_attention_heads=6, num_key_value_heads=6, head_dim=32, rms_norm_eps=1e-5,
             rope_theta=10000.0)
MAMBA2 = dict(hidden_size=192, num_hidden_layers=5, state_size=64, head_dim=64, num_heads=6, n_groups=1, expand=2, conv_kernel=4, chunk_size=32,
              layer_norm_epsilon=1e-5, time_step_min=0.001, time_step_max=0.1)


class RMSNorm(nn.Module):
    def __init__(self, width, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x):
        x = x.float()
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


def linear(inputs, outputs, gain=1.0):
    """A product without bias; gain 0 makes a block that adds nothing at first."""
    layer = nn.Linear(inputs, outputs, bias=False)
    nn.init.normal_(layer.weight, std=gain * 0.5 / math.sqrt(inputs))
    return layer


# ---- Llama

def rotary(positions, head_dim, theta):
    """cos, sin [t, head_dim]"""
    angles = positions[:, None] * theta ** (-torch.arange(0, head_dim, 2) / head_dim)
    angles = torch.cat([angles, angles], -1)
    return angles.cos(), angles.sin()


def rotate(x, cos, sin):
    """Pairs (i, i + head_dim / 2) of x [b, h, t, head_dim]."""
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat([-b, a], -1) * sin


class Attention(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = s["num_attention_heads"], s["num_key_value_heads"], s["head_dim"]
        self.q_proj = linear(s["hidden_size"], self.heads * self.head_dim)
        self.k_proj = linear(s["hidden_size"], self.kv_heads * self.head_dim)
        self.v_proj = linear(s["hidden_size"], self.kv_heads * self.head_dim)
        self.o_proj = linear(self.heads * self.head_dim, s["hidden_size"], gain=0.0)

    def forward(self, x, cos, sin):
        b, t, _ = x.shape
        qkv = F.linear(x, torch.cat([self.q_proj.weight, self.k_proj.weight, self.v_proj.weight]))
        q, k, v = qkv.view(b, t, -1, self.head_dim).transpose(1, 2).split([self.heads, self.kv_heads, self.kv_heads], 1)
        q, k = rotate(q.float(), cos, sin).to(v.dtype), rotate(k.float(), cos, sin).to(v.dtype)
        if t <= SHORT and self.heads == self.kv_heads:
            y = torch.softmax(q @ k.mT * self.head_dim ** -0.5 + torch.full((t, t), -math.inf, dtype=q.dtype).triu(1), -1) @ v
        else:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=self.heads != self.kv_heads)
        return self.o_proj(y.transpose(1, 2).reshape(b, t, -1))


class GatedMlp(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.gate_proj = linear(s["hidden_size"], s["intermediate_size"])
        self.up_proj = linear(s["hidden_size"], s["intermediate_size"])
        self.down_proj = linear(s["intermediate_size"], s["hidden_size"], gain=0.0)

    def forward(self, x):
        gate, up = F.linear(x, torch.cat([self.gate_proj.weight, self.up_proj.weight])).chunk(2, -1)
        return self.down_proj(F.silu(gate) * up)


class LlamaLayer(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.input_layernorm = RMSNorm(s["hidden_size"], s["rms_norm_eps"])
        self.self_attn = Attention(s)
        self.post_attention_layernorm = RMSNorm(s["hidden_size"], s["rms_norm_eps"])
        self.mlp = GatedMlp(s)

    def forward(self, x, cos, sin):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    """ids [b, t] -> the hidden states that `logits` multiplies with the embedding, [b, t, d]"""

    def __init__(self, s, vocabulary):
        super().__init__()
        self.s = s
        self.model = nn.ModuleDict(dict(
            embed_tokens=nn.Embedding(vocabulary, s["hidden_size"]),
            layers=nn.ModuleList(LlamaLayer(s) for _ in range(s["num_hidden_layers"])),
            norm=RMSNorm(s["hidden_size"], s["rms_norm_eps"]),
        ))
        nn.init.normal_(self.embedding, std=0.02)

    @property
    def embedding(self):
        return self.model["embed_tokens"].weight

    def forward(self, ids):
        cos, sin = rotary(torch.arange(ids.shape[1]), self.s["head_dim"], self.s["rope_theta"])
        x = self.model["embed_tokens"](ids)
        for layer in self.model["layers"]:
            x = layer(x, cos, sin)
        return self.model["norm"](x)

    def config(self, vocabulary, context):
        s = {k: v for k, v in self.s.items() if k != "rope_theta"}
        return dict(architectures=["LlamaForCausalLM"], model_type="llama", **s, vocab_size=vocabulary, max_position_embeddings=context, hidden_act="silu",
                    attention_bias=False, attention_dropout=0.0, mlp_bias=False, rope_parameters=dict(rope_type="default", rope_theta=self.s["rope_theta"]),
                    tie_word_embeddings=True, bos_token_id=0, eos_token_id=0, pad_token_id=None, dtype="bfloat16", use_cache=True)


# ---- Mamba-2

def segment_sums(a):
    """a [..., q] -> [..., q, q]: the sum of a over (j, i] at row i, column j; -inf above the diagonal, where nothing is seen."""
    sums = a.cumsum(-1)
    ones = torch.ones(a.shape[-1], a.shape[-1], dtype=torch.bool)
    return (sums[..., :, None] - sums[..., None, :]).masked_fill(~ones.tril(), -math.inf)


def ssd(x, dt, A, B, C, q):
    """y_i = Σ_{j ≤ i} (C_i · B_j) exp(Σ_{k in (j, i]} dt_k A) dt_j x_j, by chunks of q: x [b, t, h, p], dt [b, t, h], A [h], B and C [b, t, n].

    Within a chunk the sum is a masked product; what comes from before it is a state, the sum of the earlier chunks' own states, each decayed.
    """
    b, t, h, p = x.shape
    pad = -t % q
    if pad:
        # Steps of dt = 0 neither decay nor add.
        x, dt, B, C = F.pad(x, (0, 0, 0, 0, 0, pad)), F.pad(dt, (0, 0, 0, pad)), F.pad(B, (0, 0, 0, pad)), F.pad(C, (0, 0, 0, pad))
    c = (t + pad) // q
    xdt = (x * dt[..., None]).view(b, c, q, h, p).permute(0, 3, 1, 2, 4)  # [b, h, c, q, p]
    a = (dt * A).view(b, c, q, h).permute(0, 3, 1, 2)  # [b, h, c, q]
    B, C = B.view(b, 1, c, q, -1), C.view(b, 1, c, q, -1)
    sums = a.cumsum(-1)
    y = ((C @ B.transpose(-1, -2)) * segment_sums(a).exp()) @ xdt
    own = (xdt * (sums[..., -1:] - sums).exp()[..., None]).transpose(-1, -2) @ B  # [b, h, c, p, n]
    # carry[i, j]: how much of chunk j's state arrives at the start of chunk i.
    carry = segment_sums(F.pad(sums[..., -1], (1, 0)))[..., :-1, 1:].exp()
    before = (carry @ own.flatten(-2)).view_as(own)
    y = y + (C @ before.transpose(-1, -2)) * sums.exp()[..., None]
    return y.permute(0, 2, 3, 1, 4).reshape(b, t + pad, h, p)[:, :t]


class Mixer(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.s = s
        h, n, inner = s["num_heads"], s["state_size"], s["expand"] * s["hidden_size"]
        assert inner == h * s["head_dim"] and s["n_groups"] == 1
        self.parts = [inner, inner + 2 * n, h]
        self.in_proj = linear(s["hidden_size"], sum(self.parts))
        self.conv1d = nn.Conv1d(inner + 2 * n, inner + 2 * n, s["conv_kernel"], groups=inner + 2 * n)
        # Time steps between time_step_min and time_step_max, through the softplus that makes them; decays of 1 to h per unit of time.
        dt = torch.exp(torch.empty(h).uniform_(math.log(s["time_step_min"]), math.log(s["time_step_max"])))
        self.dt_bias = nn.Parameter(dt + torch.log(-torch.expm1(-dt)))
        self.A_log = nn.Parameter(torch.arange(1, h + 1).float().log())
        self.D = nn.Parameter(torch.ones(h))
        self.norm = RMSNorm(inner, s["layer_norm_epsilon"])
        self.out_proj = linear(inner, s["hidden_size"], gain=0.0)

    def forward(self, u):
        s = self.s
        gate, xBC, dt = self.in_proj(u).split(self.parts, -1)
        # The convolution as a sum of shifted rows, far faster on a CPU than conv1d over channels of their own.
        w, xBC, t = self.conv1d.weight, F.pad(xBC.float(), (0, 0, s["conv_kernel"] - 1, 0)), u.shape[1]
        xBC = F.silu(sum(xBC[:, k:k + t] * w[:, 0, k] for k in range(s["conv_kernel"])) + self.conv1d.bias)
        x, B, C = xBC.split([self.parts[0], s["state_size"], s["state_size"]], -1)
        x = x.reshape(*x.shape[:2], s["num_heads"], s["head_dim"])
        y = ssd(x, F.softplus(dt.float() + self.dt_bias), -self.A_log.exp(), B, C, s["chunk_size"]) + self.D[:, None] * x
        return self.out_proj(self.norm(y.flatten(-2) * F.silu(gate.float())))


class Mamba2Layer(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.norm = RMSNorm(s["hidden_size"], s["layer_norm_epsilon"])
        self.mixer = Mixer(s)

    def forward(self, x):
        return x + self.mixer(self.norm(x))


class Mamba2(nn.Module):
    """ids [b, t] -> the hidden states that `logits` multiplies with the embedding, [b, t, d]"""

    def __init__(self, s, vocabulary):
        super().__init__()
        self.s = s
        self.backbone = nn.ModuleDict(dict(
            embeddings=nn.Embedding(vocabulary, s["hidden_size"]),
            layers=nn.ModuleList(Mamba2Layer(s) for _ in range(s["num_hidden_layers"])),
            norm_f=RMSNorm(s["hidden_size"], s["layer_norm_epsilon"]),
        ))
        nn.init.normal_(self.embedding, std=0.02)

    @property
    def embedding(self):
        return self.backbone["embeddings"].weight

    def forward(self, ids):
        x = self.backbone["embeddings"](ids)
        for layer in self.backbone["layers"]:
            x = layer(x)
        return self.backbone["norm_f"](x)

    def config(self, vocabulary, context):
        return dict(architectures=["Mamba2ForCausalLM"], model_type="mamba2", **self.s, vocab_size=vocabulary, hidden_act="silu", use_bias=False,
                    use_conv_bias=True, rms_norm=True, residual_in_fp32=True, rescale_prenorm_residual=False, initializer_range=0.1, time_step_floor=0.0001,
                    time_step_limit=[0.0, dict(__float__="Infinity")], time_step_rank=math.ceil(self.s["hidden_size"] / 16), tie_word_embeddings=True,
                    bos_token_id=0, eos_token_id=0, pad_token_id=0, dtype="bfloat16", use_cache=True)


def logits(model, ids):
    """[b, t, vocabulary]: of the token after each"""
    return model(ids) @ model.embedding.T


ARCHITECTURES = {"llama": (Llama, LLAMA), "mamba2": (Mamba2, MAMBA2)}
