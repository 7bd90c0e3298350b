import numpy as np

from bench.label_faults import find_faults, is_excluded


def test_pages_with_wrong_labels_are_excluded() -> None:
    assert is_excluded("cremma_bnf_fr_844_12.jpg")
    assert is_excluded("print17_bpt6k1110784_f2.jpg")
    assert not is_excluded("print17_bpt6k1110784_f21.jpg")


def test_small_labels_are_faults_only_in_the_documents_with_initials() -> None:
    boxes = np.array([[0.5, 0.5, 0.03, 0.02], [0.5, 0.5, 0.3, 0.02], [0.5, 0.5, 0.3, 0.3]])
    assert find_faults("incunable15_btv1b8626772v_f19.jpg", boxes).tolist() == [True, False, False]
    assert find_faults("print16_x_f1.jpg", boxes).tolist() == [False, False, False]
