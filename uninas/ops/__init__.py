from __future__ import annotations
from uninas.op import *
def _p(k,p,d=1): return (k-1)*d//2 if p<0 else p
class Conv(Op,name="conv",family="conv"):
    """c"""
    out: int = attr("output channels", low=1, channels=True)
    kernel: int = attr("k",3,low=1)
    stride: int = attr("s",1,low=1)
    bias: bool = attr("b",True)
    def shape(self,x):
        c,h,w=image(x); p=_p(self.kernel,-1)
        return (self.out,(h+2*p-self.kernel)//self.stride+1,(w+2*p-self.kernel)//self.stride+1)
    def params(self,x): return self.out*x[0]*self.kernel**2+self.out*self.bias
    def macs(self,x): return size(self.shape(x))*x[0]*self.kernel**2
class DW(Op,name="depthwise_conv",family="conv"):
    """c"""
    kernel: int = attr("k",3,low=1)
    stride: int = attr("s",1,low=1)
    def shape(self,x):
        c,h,w=image(x); p=_p(self.kernel,-1)
        return (c,(h+2*p-self.kernel)//self.stride+1,(w+2*p-self.kernel)//self.stride+1)
class Avg(Op,name="avg_pool",family="pool"):
    kernel: int = attr("k",3,low=1)
    stride: int = attr("s",1,low=1)
    def shape(self,x):
        c,h,w=image(x); p=_p(self.kernel,-1)
        return (c,(h+2*p-self.kernel)//self.stride+1,(w+2*p-self.kernel)//self.stride+1)
class Gap(Op,name="global_avg_pool",family="pool"):
    def shape(self,x): return (image(x)[0],1,1)
def mk(nm,fam):
    class X(Op,name=nm,family=fam):
        def shape(self,x): return x
    return X
for n in "relu gelu sigmoid softmax batch_norm layer_norm identity rel_pos_bias zero".split(): mk(n,"activation")
class Add(Op,name="add",family="merge",arity=(1,MAX_PORTS),commutative=True):
    def shape(self,*x):
        if any(len(s)!=len(x[0]) or any(a!=b and 1 not in (a,b) for a,b in zip(s,x[0])) for s in x): raise ShapeError(f"expected equal shapes, but got {x}")
        return tuple(max(d) for d in zip(*x))
class Mul(Op,name="multiply",family="merge",arity=(1,MAX_PORTS),commutative=True):
    shape=Add.shape
class Cat(Op,name="concat",family="merge",arity=(1,MAX_PORTS)):
    def shape(self,*x): return (sum(s[0] for s in x),)+x[0][1:]
class Chunk(Op,name="chunk",family="split"):
    n: int = attr("n",low=1)
    def shape(self,x): return [(x[0]//self.n,)+x[1:]]*self.n
class Split(Op,name="split",family="split"):
    size: int = attr("n",low=1)
    def shape(self,x): return [(self.size,)+x[1:]]*(x[0]//self.size)
class M1(Op,name="matmul1",family="attention",arity=(2,2)):
    def shape(self,x,y): return (1,x[1]*x[2],y[1]*y[2])
class M2(Op,name="matmul2",family="attention",arity=(2,2)):
    def shape(self,x,y): return y
class L(Op,name="linear",family="linear"):
    out: int = attr("output channels", low=1, channels=True)
    def shape(self,x): return (self.out,)
