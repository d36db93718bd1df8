from keras_attn.applications.attn_resnet import AttnResNet
def CRAMResNet18Small(**kw):
    return AttnResNet([2,2,2,2],bottleneck=False,width=32,attention="cram",name="cram_resnet18_small",**kw)
