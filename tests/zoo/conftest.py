import pytest
from PIL import Image

CLASSES = 3


@pytest.fixture
def data_dir(tmp_path):
    """The layout of Tiny-ImageNet with three classes of plain colours."""
    folder = tmp_path / "tiny"
    rows = []
    for label in range(CLASSES):
        wordnet_id = f"n{label}"
        images = folder / "train" / wordnet_id / "images"
        images.mkdir(parents=True)
        (folder / "val" / "images").mkdir(parents=True, exist_ok=True)
        for index in range(5):
            color = [20 * index] * 3
            color[label] = 250
            picture = Image.new("RGB", (16, 16), tuple(color))
            picture.save(images / f"{wordnet_id}_{index}.JPEG")
            if index < 2:
                name = f"val_{label}_{index}.JPEG"
                picture.save(folder / "val" / "images" / name)
                rows.append(f"{name}\t{wordnet_id}\t0\t0\t9\t9")
    (folder / "wnids.txt").write_text("n1\nn0\nn2\n")
    (folder / "words.txt").write_text("n0\tred, r\nn1\tgreen\nn2\tblue\n")
    (folder / "val" / "val_annotations.txt").write_text("\n".join(rows))
    return folder
