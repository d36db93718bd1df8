"""Constructors with the signature of `keras.applications`."""

from keras_attn.applications.aa_resnet import AAResNet14Small
from keras_attn.applications.aa_resnet import AAResNet26Small
from keras_attn.applications.aa_resnet import AAResNet34
from keras_attn.applications.aa_resnet import AAResNet50
from keras_attn.applications.aa_resnet import AAResNet101
from keras_attn.applications.aa_resnet import AAResNet152
from keras_attn.applications.attention_types import AttentionType
from keras_attn.applications.attn_resnet import AttnResNet
from keras_attn.applications.cram_resnet import CRAMResNet14Small
from keras_attn.applications.cram_resnet import CRAMResNet18
from keras_attn.applications.cram_resnet import CRAMResNet18Small
from keras_attn.applications.cram_resnet import CRAMResNet34
from keras_attn.applications.cram_resnet import CRAMResNet50
from keras_attn.applications.expatt_resnet import ExpAttResNet14Small
from keras_attn.applications.expatt_resnet import ExpAttResNet26Small
from keras_attn.applications.expatt_resnet import ExpAttResNet50
from keras_attn.applications.expatt_resnet import ExpAttResNet101
from keras_attn.applications.expatt_resnet import ExpAttResNet152
from keras_attn.applications.gsa_resnet import GSAResNet14Small
from keras_attn.applications.gsa_resnet import GSAResNet26
from keras_attn.applications.gsa_resnet import GSAResNet26Small
from keras_attn.applications.gsa_resnet import GSAResNet38
from keras_attn.applications.gsa_resnet import GSAResNet50
from keras_attn.applications.gsa_resnet import GSAResNet101
from keras_attn.applications.resnets import AttnResNet14Small
from keras_attn.applications.resnets import AttnResNet18
from keras_attn.applications.resnets import AttnResNet18Small
from keras_attn.applications.resnets import AttnResNet26
from keras_attn.applications.resnets import AttnResNet26Small
from keras_attn.applications.resnets import AttnResNet34
from keras_attn.applications.resnets import AttnResNet38
from keras_attn.applications.resnets import AttnResNet50
from keras_attn.applications.resnets import AttnResNet101
from keras_attn.applications.resnets import AttnResNet152

__all__ = [
    "AAResNet101",
    "AAResNet14Small",
    "AAResNet152",
    "AAResNet26Small",
    "AAResNet34",
    "AAResNet50",
    "AttentionType",
    "AttnResNet",
    "AttnResNet101",
    "AttnResNet14Small",
    "AttnResNet152",
    "AttnResNet18",
    "AttnResNet18Small",
    "AttnResNet26",
    "AttnResNet26Small",
    "AttnResNet34",
    "AttnResNet38",
    "AttnResNet50",
    "CRAMResNet14Small",
    "CRAMResNet18",
    "CRAMResNet18Small",
    "CRAMResNet34",
    "CRAMResNet50",
    "ExpAttResNet101",
    "ExpAttResNet14Small",
    "ExpAttResNet152",
    "ExpAttResNet26Small",
    "ExpAttResNet50",
    "GSAResNet101",
    "GSAResNet14Small",
    "GSAResNet26",
    "GSAResNet26Small",
    "GSAResNet38",
    "GSAResNet50",
]
