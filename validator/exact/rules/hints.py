"""What to do about an operator that people meet and exact() refuses. Whatever is in no table is refused as well."""

from __future__ import annotations

from collections.abc import Mapping

REFUSED: Mapping[str, str] = {
    **dict.fromkeys(
        ("rand", "randn", "randint", "randperm", "normal", "normal_", "uniform_", "bernoulli", "bernoulli_",
         "rand_like", "randn_like", "multinomial", "exponential_", "random_"),
        "torch's generators are not portable; draw with validator.exact.random.Stream",
    ),
    **dict.fromkeys(
        tuple(f"_scaled_dot_product_{kernel}{direction}" for direction in ("", "_backward") for kernel in (
            "flash_attention_for_cpu", "flash_attention", "efficient_attention", "cudnn_attention",
            "fused_attention_overrideable")),
        "fused attention; select the math form with torch.nn.attention.sdpa_kernel(SDPBackend.MATH), forward too",
    ),
    **dict.fromkeys(
        ("_native_multi_head_attention", "_transformer_encoder_layer_fwd"),
        "fused attention; call torch.backends.mha.set_fastpath_enabled(False)",
    ),
    **dict.fromkeys(
        ("_thnn_fused_lstm_cell", "_thnn_fused_gru_cell", "_cudnn_rnn", "mkldnn_rnn_layer", "lstm", "gru", "lstm_cell",
         "gru_cell"),
        "fused recurrence; write the cell out of linear layers",
    ),
    **dict.fromkeys(
        ("_fused_sgd_", "_fused_adam_", "_fused_adamw_", "_fused_adagrad_"), "fused optimizer; pass fused=False"
    ),
    **dict.fromkeys(
        ("linalg_inv_ex", "linalg_solve_ex", "_linalg_solve_ex", "linalg_cholesky_ex", "_linalg_eigh", "_linalg_svd",
         "linalg_qr", "linalg_lu_factor_ex"),
        "LAPACK and cuSOLVER differ; use a fixed number of iterations over products",
    ),
}  # fmt: skip
"""aten name, with or without its overload: the remedy."""
