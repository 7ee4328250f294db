import pytest
import torch

from medseg.errors import UsageError
from medseg.networks.segmenter import LinearDecoder, MaskTransformer, Segmenter
from tests.networks.vit_reference import drawn, fill, reference, settings

SIZES = {"hidden_size": 48, "mlp_dim": 192, "num_heads": 3, "num_layers": 3, "patch_size": 8}


def test_the_mask_transformer_equals_the_published_one():
    decoder = MaskTransformer(48, 5, num_layers=2, num_heads=3)
    keys = settings()["segmenter"]["decoder_keys"]
    assert {name: list(v.shape) for name, v in decoder.state_dict().items()} == keys
    logits = fill(decoder, 0.2).eval()(drawn("seg_tokens", (2, 16, 48)))
    masks = logits.transpose(1, 2).reshape(2, 5, 4, 4)
    torch.testing.assert_close(masks, reference("segm__mask_tokens_32x32"), rtol=0, atol=1e-4)


def test_the_linear_decoder_equals_the_published_one():
    decoder = fill(LinearDecoder(48, 5), 0.2)
    logits = decoder(drawn("seg_tokens_4x6", (1, 24, 48)))
    masks = logits.transpose(1, 2).reshape(1, 5, 4, 6)
    torch.testing.assert_close(masks, reference("segm__linear_tokens_32x48"), rtol=0, atol=1e-4)


def test_the_whole_network_equals_the_published_one():
    network = Segmenter(32, 3, 5, **SIZES).eval()
    fill(network.encoder, 0.2)
    fill(network.decoder, 0.2)
    logits = network(drawn("image0", (1, 3, 32, 32)))
    torch.testing.assert_close(logits, reference("segm__full_32x32"), rtol=0, atol=1e-4)


def test_padding_is_cropped_off_after_enlarging():
    network = Segmenter(32, 1, 5, **SIZES).eval()
    image = torch.randn(1, 1, 30, 32)
    padded = torch.cat([image, torch.zeros(1, 1, 2, 32)], dim=2)
    torch.testing.assert_close(network(image), network(padded)[:, :, :30])


def test_an_untrained_network_expects_background():
    torch.manual_seed(0)
    network = Segmenter(32, 1, 9, decoder="linear", **SIZES).eval()
    means = network(torch.randn(2, 1, 32, 32)).mean(dim=(0, 2, 3))
    assert means[0] > 2
    assert (means[1:] < -2).all()


def test_scores_of_the_mask_transformer_can_be_sure_of_a_class_from_the_start():
    torch.manual_seed(0)
    logits = MaskTransformer(48, 9, num_heads=3)(torch.randn(1, 16, 48))
    spread = logits.std(dim=-1, correction=0)  # of the norm's output, beside its small bias
    assert 2 < spread.mean() < 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"decoder": "cup"}, "decoder must be one of mask, linear, got 'cup'"),
        ({"num_classes": 1}, "2 classes or more, got 1; decoder: linear"),
        ({"decoder_layers": 0}, "decoder_layers must be 1 or more, got 9 and 0"),
        ({"image_size": (32, 32, 32)}, r"one or two sides, got \(32, 32, 32\)"),
    ],
)
def test_error_names_what_does_not_fit(arguments, message):
    with pytest.raises(UsageError, match=message):
        Segmenter(**{"image_size": 32, "num_classes": 9} | SIZES | arguments)


def test_error_names_the_shape_of_an_image_that_does_not_fit():
    with pytest.raises(ValueError, match=r"\(B, 1, H, W\), got \(1, 3, 32, 32\)"):
        Segmenter(32, 1, 5, **SIZES)(torch.zeros(1, 3, 32, 32))
